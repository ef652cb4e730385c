#pragma once

#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace bitcluster {

/// A column of a table whose rows are structs: where a row holds its value, and its one written definition.
template <class Get>
struct Column {
  Get get;  //!< a pointer to the row's member, or a function from a row to a reference
  std::string name;
  std::string unit;  //!< "1" for counts and fractions, "none" for texts
  std::string description;

  template <class Row>
  auto& of(Row& row) const {
    return std::invoke(get, row);
  }
};

template <class Get>
Column(Get, std::string, std::string, std::string) -> Column<Get>;

/// What a column of rows of this type holds: std::int64_t, double, std::string, or an enum that is stored as text.
template <class Row, class Get>
using ColumnValue = std::remove_cvref_t<std::invoke_result_t<const Get&, Row&>>;

/// Calls visit(column) for every column that a row type defines in its schema(), in order.
template <class Row, class Visit>
void for_each_column(Visit&& visit) {
  std::apply([&](const auto&... column) { (visit(column), ...); }, Row::schema());
}

}  // namespace bitcluster
