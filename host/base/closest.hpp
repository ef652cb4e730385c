#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bitcluster {

/// Letters to insert, remove or replace to make one text of the other.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t(0));
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

/// What a misspelled name may have meant: the name with the smallest distance, if that is at most half of the letters.
template <class Names>
std::optional<std::string> closest(std::string_view wrong, const Names& names) {
  std::size_t least = (wrong.size() + 1) / 2 + 1;
  std::optional<std::string> found;
  for (const auto& name : names) {
    const std::size_t distance = edit_distance(wrong, name);
    if (distance >= least) continue;
    least = distance;
    found = std::string(name);
  }
  return found;
}

}  // namespace bitcluster
