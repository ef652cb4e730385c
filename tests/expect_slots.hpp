#pragma once

#include <gtest/gtest.h>

#include "host/emulation/emulator.hpp"

namespace bitcluster {

inline void expect_slots_add_up(const LayerEmulation& result, const Accelerator& accelerator) {
  const Slots& s = result.slots;
  EXPECT_EQ(s.total, std::int64_t(accelerator.slots_per_element()) * accelerator.rows * accelerator.columns *
                         accelerator.tiles * result.cycles);
  EXPECT_EQ(s.useful + s.edge + s.lane + s.row_column + s.null_term + s.memory, s.total);
  for (const std::int64_t part : {s.useful, s.edge, s.lane, s.row_column, s.null_term, s.memory}) EXPECT_GE(part, 0);
}

}  // namespace bitcluster
