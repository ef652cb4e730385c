#pragma once

#include <functional>
#include <string_view>
#include <type_traits>

namespace bitcluster {

/// A column of a table whose rows are structs: where a row holds its value, and its one written definition. The texts
/// are to be copied if they are to outlive the visit.
template <class Get>
struct Column {
  Get get;  //!< a pointer to the row's member, or a function from a row to a reference
  std::string_view name;
  std::string_view unit;  //!< "1" for counts and fractions, "none" for texts
  std::string_view description;

  template <class Row>
  auto& of(Row& row) const {
    return std::invoke(get, row);
  }
};

template <class Get>
Column(Get, std::string_view, std::string_view, std::string_view) -> Column<Get>;

/// What a column of rows of this type holds: std::int64_t, double, std::string, or an enum that is stored as text.
template <class Row, class Get>
using ColumnValue = std::remove_cvref_t<std::invoke_result_t<const Get&, Row&>>;

}  // namespace bitcluster
