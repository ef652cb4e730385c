#include "harness/scoring/tiles.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

#include "harness/journal/content_keys.hpp"
#include "host/emulation/design.hpp"

namespace bitcluster {
namespace {

/// Images of a tile are a multiple of this many, which share a reading of the weights (see the CPU backend), or, where
/// that would be this share of all that a rank does, of fewer that cost at least so many products: VGG-16's weights
/// take 14 ms to read, four images (6e10) 360 ms to evaluate. Ranks of more threads work on more images at once anyway.
constexpr int usual_grain = 16, least_grain = 4;
constexpr double coarse_share = 1.0 / 10, least_cost = 2e10;

/// The cost of a tile is 1 / (2 x ranks) of what is left, within these shares of the whole per rank.
constexpr double largest_share = 1.0 / 8, smallest_share = 1.0 / 64;

/// But a tile has this many times the work that it costs beside its images, as long as there are tiles for all ranks.
constexpr double work_per_tile = 4;

int images_of(int block, int images) { return std::min((block + 1) * block_images, images) - block * block_images; }

/// Variants of one demand that are cut together in one stage.
struct Group {
  int demand, stage;
  double beside;                         // per tile, of all variants
  std::vector<std::vector<int>> wanted;  // (blocks): variants
};

/// What is not known of these variants: of those that may stop, blocks [begin, end) only.
Group make_group(const Demand& demand, int index, int stage, const std::vector<int>& variants, int begin, int end) {
  const int blocks = image_blocks(demand.images);
  Group group{index, stage, 0, std::vector<std::vector<int>>(blocks)};
  for (const int v : variants) {
    group.beside += demand.costs[v].tile;
    const ScoreExtent& extent = demand.extents[v];
    for (int block = 0; block < image_blocks(extent.images); ++block) {
      const bool now = extent.may_stop ? block >= begin && block < end : stage == 0;
      if (now && demand.known[std::size_t(v) * blocks + block] == std::byte(0)) group.wanted[block].push_back(v);
    }
  }
  return group;
}

/// Of all demands and stages.
std::vector<Group> make_groups(std::span<const Demand> demands) {
  std::vector<Group> groups;
  for (int d = 0; d < int(demands.size()); ++d) {
    const Demand& demand = demands[d];
    // variants that share nothing have tiles of their own: the fewer variants in one, the fewer weights are read for it
    std::vector<int> sharing;
    for (int v = 0; v < int(demand.costs.size()); ++v) {
      if (demand.costs[v].shared > 0) sharing.push_back(v);
    }
    int begin = 0, stage = 0;
    for (const int end : stage_ends(image_blocks(demand.images))) {
      groups.push_back(make_group(demand, d, stage, sharing, begin, end));
      for (int v = 0; v < int(demand.costs.size()); ++v) {
        if (demand.costs[v].shared == 0) groups.push_back(make_group(demand, d, stage, {v}, begin, end));
      }
      begin = end;
      ++stage;
    }
  }
  return groups;
}

double whole_cost(std::span<const Demand> demands, std::span<const Group> groups) {
  double whole = 0;
  for (const Group& group : groups) {
    const Demand& demand = demands[group.demand];
    for (int block = 0; block < int(group.wanted.size()); ++block) {
      whole += cost_of(demand.costs, group.wanted[block]) * images_of(block, demand.images);
    }
  }
  return whole;
}

/// Cuts group after group.
class TileCutter {
 public:
  TileCutter(std::span<const Demand> demands, int ranks, int threads, double whole)
      : demands_(demands), ranks_(ranks), threads_(threads), whole_(whole), left_(whole) {}

  void cut(const Group& group) {
    const Demand& demand = demands_[group.demand];
    const int blocks = image_blocks(demand.images);
    for (int first = 0; first < demand.images;) {
      int block = first / block_images;
      const std::vector<int>& variants = group.wanted[block];
      while (block + 1 < blocks && group.wanted[block + 1] == variants) ++block;
      const int end = std::min((block + 1) * block_images, demand.images);
      if (variants.empty()) {
        first = end;
        continue;
      }
      const double target = target_cost(demand, variants), per_image = cost_of(demand.costs, variants);
      const int count = count_images(target, per_image, end - first);
      add_tiles(group.demand, variants, first, count, target);
      left_ -= per_image * count;
      first += count;
    }
  }

  void end_stage() {
    std::stable_sort(tiles_.begin() + std::ptrdiff_t(stage_begin_), tiles_.end(),
                     [](const Tile& a, const Tile& b) { return a.cost > b.cost; });
    stage_begin_ = tiles_.size();
  }

  std::vector<Tile> take() { return std::move(tiles_); }

 private:
  /// Of the next tile.
  double target_cost(const Demand& demand, const std::vector<int>& variants) const {
    double beside = 0;
    for (const int variant : variants) beside += demand.costs[variant].tile;
    const double least = std::min(work_per_tile * beside, whole_ / ranks_);
    return std::max(least,
                    std::clamp(left_ / (2 * ranks_), whole_ * (ranks_ > 1 ? smallest_share : largest_share) / ranks_,
                               whole_ * largest_share / ranks_));
  }

  /// Of the next tile, at most `most`.
  int count_images(double target, double per_image, int most) const {
    const bool coarse = threads_ <= least_grain && least_grain * per_image >= least_cost &&
                        usual_grain * per_image > coarse_share * whole_ / ranks_;
    const int grain = coarse ? least_grain : usual_grain;
    const int wanted = int(std::min(target / per_image, double(most)));
    return std::min(std::max(grain, wanted / grain * grain), most);
  }

  /// One of all variants, or where that is too much, of as many at a time as the target allows.
  void add_tiles(int demand, const std::vector<int>& variants, int first, int count, double target) {
    const std::vector<VariantCost>& costs = demands_[demand].costs;
    const double together = cost_of(costs, variants) * count;
    Tile tile{demand, {}, first, count, 0, 0};
    for (const int variant : variants) {
      std::vector<int> more = tile.variants;
      more.push_back(variant);
      const double cost = cost_of(costs, more) * count;
      if (!tile.variants.empty() && together > target && cost > target) {
        tiles_.push_back(std::move(tile));
        tile = {demand, {variant}, first, count, cost_of(costs, std::span(&variant, 1)) * count, 0};
      } else {
        tile.variants = std::move(more);
        tile.cost = cost;
      }
    }
    tiles_.push_back(std::move(tile));
  }

  std::span<const Demand> demands_;
  int ranks_, threads_;
  double whole_, left_;
  std::vector<Tile> tiles_;
  std::size_t stage_begin_ = 0;
};

void number_kinds(std::span<const Demand> demands, std::vector<Tile>& tiles) {
  std::map<std::pair<int, std::vector<int>>, int> kinds;
  for (Tile& tile : tiles) {
    const std::vector<VariantCost>& costs = demands[tile.demand].costs;
    tile.kind = -1;
    if (std::all_of(tile.variants.begin(), tile.variants.end(), [&](int v) { return costs[v].tile == 0; })) continue;
    tile.kind = kinds.try_emplace({tile.demand, tile.variants}, int(kinds.size())).first->second;
  }
}

}  // namespace

std::vector<Tile> cut(std::span<const Demand> demands, int ranks, int threads) {
  std::vector<Group> groups = make_groups(demands);
  TileCutter cutter(demands, ranks, threads, whole_cost(demands, groups));
  // what is dear to prepare while tiles are large
  std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
    return a.stage != b.stage ? a.stage < b.stage : a.beside > b.beside;
  });
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (g > 0 && groups[g].stage != groups[g - 1].stage) cutter.end_stage();
    cutter.cut(groups[g]);
  }
  cutter.end_stage();
  std::vector<Tile> tiles = cutter.take();
  number_kinds(demands, tiles);
  return tiles;
}

double emulation_cost(const Accelerator& accelerator, double products) {
  return accelerator.design->relative_cost * products;
}

std::vector<std::size_t> emulation_order(std::span<const double> costs, std::span<const int> images, double dear) {
  std::vector<std::size_t> order(costs.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const auto key = [&](std::size_t i) {
      return std::tuple(costs[i] <= dear, costs[i] <= dear ? images[i] : 0, -costs[i]);
    };
    return key(a) < key(b);
  });
  return order;
}

}  // namespace bitcluster
