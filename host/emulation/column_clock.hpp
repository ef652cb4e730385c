#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace bitcluster {

/// Columns that may run ahead of each other by `registers` steps.
class ColumnClock {
 public:
  /// column_slots: of a column, whether they hold a value or not.
  ColumnClock(int columns, int registers, std::int64_t column_slots)
      : column_slots_(column_slots),
        finished_(std::size_t(columns), 0),
        present_(finished_.size(), 0),
        before_(std::size_t(registers), 0) {}

  /// One step: what every column takes, for the first `cycles.size()` columns, of which each holds `slots` values.
  void step(std::span<const std::uint16_t> cycles, std::int64_t slots) {
    std::int64_t last = 0;
    for (std::size_t c = 0; c < finished_.size(); ++c) {
      const std::int64_t start = std::max(finished_[c], ready_);
      const bool works = c < cycles.size();
      present_[c] = works ? slots : 0;
      waited_ += (start - finished_[c]) * present_[c];
      const std::int64_t end = start + (works ? cycles[c] : 0);
      empty_ += empty_between(c, finished_[c], end);
      finished_[c] = end;
      last = std::max(last, finished_[c]);
    }
    ready_ = before_[place_];
    before_[place_] = last;
    place_ = (place_ + 1) % before_.size();
  }

  std::int64_t cycles() const { return *std::max_element(finished_.begin(), finished_.end()); }

  /// Slots that waited for another column, also at the end.
  std::int64_t waited() const {
    std::int64_t waited = waited_;
    for (std::size_t c = 0; c < finished_.size(); ++c) waited += (cycles() - finished_[c]) * present_[c];
    return waited;
  }

  /// Slots without a value, from the first step to the end of the last one; modulo 2^64.
  std::uint64_t empty() const {
    std::uint64_t empty = empty_;
    for (std::size_t c = 0; c < finished_.size(); ++c) empty += empty_between(c, finished_[c], cycles());
    return empty;
  }

 private:
  std::uint64_t empty_between(std::size_t column, std::int64_t begin, std::int64_t end) const {
    return std::uint64_t(column_slots_ - present_[column]) * std::uint64_t(end - begin);
  }

  std::int64_t column_slots_;
  std::vector<std::int64_t> finished_;
  std::vector<std::int64_t> present_;  // slots of the latest step
  std::vector<std::int64_t> before_;   // when all columns had finished the latest steps
  std::size_t place_ = 0;
  std::int64_t ready_ = 0, waited_ = 0;
  std::uint64_t empty_ = 0;
};

/// Cycles until the last step is done when steps are dealt to the columns in turn and one may start per cycle.
inline std::int64_t rotate(std::span<const std::int32_t> step_cycles, int columns) {
  std::vector<std::int64_t> finish(static_cast<std::size_t>(columns), 0);
  std::int64_t now = 0;
  int column = 0;
  for (const std::int32_t cycles : step_cycles) {
    now = std::max(now, finish[column]);
    finish[column] = now + cycles;
    ++now;
    if (++column == columns) column = 0;
  }
  return *std::max_element(finish.begin(), finish.end());
}

}  // namespace bitcluster
