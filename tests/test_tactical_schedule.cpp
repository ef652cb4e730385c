#include <gtest/gtest.h>

#include <random>

#include "host/emulation/column_clock.hpp"
#include "host/emulation/emulator.hpp"
#include "host/emulation/tactical_schedule.hpp"

namespace bitcluster {
namespace {

Accelerator tactical(int lanes, SearchShape shape = SearchShape::t, int lookahead = 2, int lookaside = 5) {
  Accelerator accelerator;
  accelerator.design = &design_named("tactical_e");
  accelerator.lanes = lanes;
  accelerator.search_shape = shape;
  accelerator.lookahead = lookahead;
  accelerator.lookaside = lookaside;
  return accelerator;
}

/// Lane 0 is the leftmost character: '1' a nonzero weight, '0' a zero, '-' no weight. One row.
TacticalSchedule schedule(const Accelerator& accelerator, const std::vector<std::string>& bricks) {
  std::vector<std::uint64_t> nonzero, present;
  for (const std::string& brick : bricks) {
    nonzero.push_back(0);
    present.push_back(0);
    for (std::size_t l = 0; l < brick.size(); ++l) {
      nonzero.back() |= std::uint64_t(brick[l] == '1') << l;
      present.back() |= std::uint64_t(brick[l] != '-') << l;
    }
  }
  return schedule_weights(accelerator, 1, int(bricks.size()), nonzero, present);
}

std::vector<int> sources(const TacticalSchedule& schedule, int brick, int lanes) {
  return {schedule.sources.begin() + brick * lanes, schedule.sources.begin() + (brick + 1) * lanes};
}

// The places of shape T are 1: (1,-1), 2: (1,0), 3: (1,1), 4: (1,3), 5: (2,-2), 6: (2,0), 7: (2,2).

TEST(Schedule, DenseWeightsStayWhereTheyAre) {
  const TacticalSchedule dense = schedule(tactical(4), {"1111", "1111", "1111"});
  EXPECT_EQ(dense.kept, (std::vector<int>{0, 1, 2}));
  for (int brick = 0; brick < 3; ++brick) {
    EXPECT_EQ(sources(dense, brick, 4), (std::vector<int>{0, 0, 0, 0}));
    EXPECT_TRUE(dense.plain[brick]);
  }
}

TEST(Schedule, FillsTheLaneWithTheMostCandidatesFirst) {
  // Brick 0 has zeros on lanes 1 and 3. Later there are (1, lane 2) and (1, lane 3).
  // Lane 1: (1,1) is lane 2. Lane 3: (1,-1) is lane 2, (1,0) is lane 3: two candidates, so it goes first and takes the
  // first of the map, lane 2. Lane 1 then finds nothing: (1,3) is lane 4, (1,1) is done.
  const TacticalSchedule result = schedule(tactical(8), {"10101111", "00110000"});
  EXPECT_EQ(sources(result, 0, 8)[3], 1);
  EXPECT_EQ(sources(result, 0, 8)[1], 0);  // its own zero weight
  EXPECT_EQ(result.kept, (std::vector<int>{0, 1}));
  EXPECT_EQ(sources(result, 1, 8), (std::vector<int>{0, 0, 255, 0, 0, 0, 0, 0}));
  EXPECT_FALSE(result.plain[1]);
}

TEST(Schedule, WrapsAroundAndLeavesOutWhatWasDone) {
  // lane 0 of brick 0 looks at (1,-1), which is the last lane
  const TacticalSchedule result = schedule(tactical(4), {"0111", "0001"});
  EXPECT_EQ(sources(result, 0, 4), (std::vector<int>{1, 0, 0, 0}));
  EXPECT_EQ(result.kept, (std::vector<int>{0}));
}

TEST(Schedule, LeavesOutAtMostLookaheadBricksOfZerosInARow) {
  EXPECT_EQ(schedule(tactical(4), {"0000", "0000", "0000", "0000", "0000", "0000", "0000"}).kept,
            (std::vector<int>{2, 5}));
  EXPECT_EQ(schedule(tactical(4), {"0000", "0000"}).kept, std::vector<int>());
  // the third brick takes a step though it has only zeros, and fills itself from the fourth
  const TacticalSchedule result = schedule(tactical(4), {"0000", "0000", "0000", "1000"});
  EXPECT_EQ(result.kept, (std::vector<int>{2}));
  // lanes 0 and 3 find it by (1,0) and (1,1), lane 1 by (1,-1) and (1,3): it has the most candidates
  EXPECT_EQ(sources(result, 2, 4), (std::vector<int>{0, 1, 0, 0}));
}

TEST(Schedule, UsesLanesThatHoldNoWeight) {
  const TacticalSchedule result = schedule(tactical(4), {"11--", "11--"});
  // lane 2 finds (1,-1), lane 1; lane 3 finds (1,1), lane 0
  EXPECT_EQ(sources(result, 0, 4), (std::vector<int>{0, 0, 1, 3}));
  EXPECT_EQ(result.kept, (std::vector<int>{0}));
  EXPECT_EQ(sources(schedule(tactical(4), {"11--"}), 0, 4), (std::vector<int>{0, 0, 255, 255}));
  Accelerator peer = tactical(4);
  peer.peer = Peer::dnnsim;
  EXPECT_EQ(sources(schedule(peer, {"11--"}), 0, 4), (std::vector<int>{0, 0, 254, 254}));
}

TEST(Schedule, RowsShareTheBricksThatAreLeftOut) {
  // row 0 has nothing in brick 1, row 1 has: nobody leaves it out
  const std::vector<std::uint64_t> nonzero = {15, 0, 15, 15}, present = {15, 15, 15, 15};
  EXPECT_EQ(schedule_weights(tactical(4), 2, 2, nonzero, present).kept, (std::vector<int>{0, 1}));
}

TEST(Schedule, WeightsThatAreLeftOutTakeNoMemory) {
  Accelerator accelerator = tactical(4);
  accelerator.weight_buffer = accelerator.activation_buffer = 1024;
  accelerator.off_chip_gbyte_per_s = 1;
  const std::vector<std::int16_t> nothing(8, 0), something = {1, 0, 0, 0, 0, 0, 0, 0};  // two bricks of four
  LayerTensors layer;
  layer.geometry.fully_connected = true;
  layer.geometry.filters = 1;
  layer.geometry.input = {8, 1, 1};
  layer.geometry.output = {1, 1, 1};
  layer.activations = nothing;
  layer.weights = something;
  // one brick of four weights of 8 bits, each with its place: 7 of the shape T and its own
  EXPECT_EQ(emulate(accelerator, layer).traffic.weights_off_chip, 4 * (8 + 3) / 8.0);
  layer.weights = nothing;
  EXPECT_EQ(emulate(accelerator, layer).traffic.weights_off_chip, 0);
}

TEST(Schedule, ShapesByHand) {
  const std::vector<Promotion> map = search_map(tactical(16, SearchShape::l, 2, 3));
  const std::vector<std::pair<int, int>> expected = {{1, -3}, {1, -2}, {1, -1}, {1, 0}, {2, 0}};
  ASSERT_EQ(map.size(), expected.size());
  for (std::size_t i = 0; i < map.size(); ++i) {
    EXPECT_EQ(map[i].ahead, expected[i].first);
    EXPECT_EQ(map[i].aside, expected[i].second);
  }
}

TEST(Schedule, DoesEveryWeightOnce) {
  std::mt19937 random(4);
  for (int repeat = 0; repeat < 200; ++repeat) {
    const int lanes = 1 + int(random() % 64), bricks = 1 + int(random() % 12);
    const Accelerator accelerator =
        random() % 2 ? tactical(lanes) : tactical(lanes, SearchShape::l, 1 + int(random() % 4), int(random() % 6));
    const std::vector<Promotion> map = search_map(accelerator);
    std::vector<std::string> text(static_cast<std::size_t>(bricks));
    const unsigned density = random() % 10;
    for (std::string& brick : text) {
      for (int l = 0; l < lanes; ++l) brick += l >= lanes - int(repeat % 3) ? '-' : random() % 10 < density ? '1' : '0';
    }
    const TacticalSchedule result = schedule(accelerator, text);
    std::vector<std::vector<int>> done(std::size_t(bricks), std::vector<int>(std::size_t(lanes), 0));
    for (const int brick : result.kept) {
      const std::vector<int> codes = sources(result, brick, lanes);
      for (int l = 0; l < lanes; ++l) {
        if (codes[l] == TacticalSchedule::nothing) continue;
        const Promotion from = codes[l] == 0 ? Promotion{0, 0} : map.at(std::size_t(codes[l] - 1));
        ++done.at(std::size_t(brick + from.ahead)).at(std::size_t(((l + from.aside) % lanes + lanes) % lanes));
      }
    }
    for (int brick = 0; brick < bricks; ++brick) {
      for (int l = 0; l < lanes; ++l) {
        const char weight = text[brick][l];
        ASSERT_GE(done[brick][l], weight == '1' ? 1 : 0) << repeat;
        ASSERT_LE(done[brick][l], weight == '-' ? 0 : 1) << repeat;
      }
    }
  }
}

TEST(ColumnClock, ByHand) {
  // two columns, one register: a step may start once all columns finished the step before the last
  ColumnClock clock(2, 1, 14);
  const auto step = [&](std::vector<std::uint16_t> cycles) { clock.step(cycles, 10); };
  step({1, 5});  // 0-1, 0-5
  step({4, 1});  // 1-5, 5-6: free of step 0 until it is done, which only the next one waits for
  EXPECT_EQ(clock.cycles(), 6);
  step({1, 1});  // all had finished step 0 at 5: 5-6, 6-7
  EXPECT_EQ(clock.cycles(), 7);
  step({1, 1});  // all had finished step 1 at 6: 6-7, 7-8
  EXPECT_EQ(clock.cycles(), 8);
  EXPECT_EQ(clock.waited(), 10);           // column 0 at the end
  EXPECT_EQ(clock.empty(), 2u * 8u * 4u);  // 4 of 14 slots of each, all the time
  step({3});                               // column 1 has no pixel: column 0 7-10, and 1 is free
  EXPECT_EQ(clock.cycles(), 10);
  EXPECT_EQ(clock.waited(), 0);
  EXPECT_EQ(clock.empty(), 10u * 4u + 8u * 4u + 2u * 14u);  // column 1: all of its slots from 8 on
}

TEST(ColumnClock, MoreRegistersNeverTakeLonger) {
  std::mt19937 random(6);
  std::vector<ColumnClock> clocks;
  for (int registers = 1; registers < 6; ++registers) clocks.emplace_back(4, registers, 1);
  std::int64_t lockstep = 0, busiest[4] = {};
  for (int step = 0; step < 200; ++step) {
    std::vector<std::uint16_t> cycles(4);
    for (int c = 0; c < 4; ++c) busiest[c] += cycles[c] = std::uint16_t(1 + random() % 9);
    lockstep += *std::max_element(cycles.begin(), cycles.end());
    for (ColumnClock& clock : clocks) clock.step(cycles, 1);
  }
  EXPECT_LE(clocks[0].cycles(), lockstep);
  for (std::size_t i = 1; i < clocks.size(); ++i) EXPECT_LE(clocks[i].cycles(), clocks[i - 1].cycles());
  EXPECT_GE(clocks.back().cycles(), *std::max_element(busiest, busiest + 4));
}

}  // namespace
}  // namespace bitcluster
