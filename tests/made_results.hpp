#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "host/results/results.hpp"

namespace bitcluster {

/// A row of distinct values.
template <class Row>
Row made_row(int seed) {
  Row row;
  int value = seed * 100;
  Row::for_each_column([&](const auto& column) {
    using Value = ColumnValue<Row, decltype(column.get)>;
    if constexpr (std::is_same_v<Value, std::int64_t>) {
      column.of(row) = value - (std::int64_t(1) << 40);
    } else if constexpr (std::is_same_v<Value, double>) {
      column.of(row) = value / 7.0;
    } else if constexpr (std::is_same_v<Value, Stage>) {
      column.of(row) = Stage(std::size_t(seed) % stage_names.size());
    } else {
      column.of(row) = std::string(std::size_t(seed % 5), 'x') + std::to_string(value);
    }
    ++value;
  });
  return row;
}

/// A file with rows in all tables but the first one.
inline Results made_results() {
  Results results;
  results.provenance = {"0.1.0", "abc123", "seed = 3\n# \xC3\xA4\n", "2022-02-02T02:02:02Z",
                        3,       2,        {"a: cpu", "bb: cuda"}};
  int rows = 0;
  for_each_table([&]<class Row>(std::vector<Row> Results::*table) {
    for (int row = 0; row < rows; ++row) (results.*table).push_back(made_row<Row>(row));
    ++rows;  // the first table stays empty
  });
  return results;
}

}  // namespace bitcluster
