#include "harness/scoring/tiles.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

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

/// Blocks before every look at variants that may stop, and all of them.
std::vector<int> stage_ends(int blocks) {
  std::vector<int> ends;
  for (const int parts : {8, 4, 2, 1}) {
    const int end = (blocks + parts - 1) / parts;
    if (ends.empty() || end > ends.back()) ends.push_back(end);
  }
  return ends;
}

int blocks_of(int images) { return (images + block_images - 1) / block_images; }

int images_of(int block, int images) { return std::min((block + 1) * block_images, images) - block * block_images; }

}  // namespace

double cost_of(std::span<const VariantCost> costs, std::span<const int> variants) {
  double own = 0, shared = 0;
  for (const int variant : variants) {
    own += costs[variant].own;
    shared = std::max(shared, costs[variant].shared);
  }
  return own + shared;
}

std::vector<Tile> cut(std::span<const Demand> demands, int ranks, int threads) {
  /// Variants of one demand that are cut together in one stage.
  struct Group {
    int demand, stage;
    double beside;                         // per tile, of all variants
    std::vector<std::vector<int>> wanted;  // (blocks): variants
  };
  std::vector<Group> groups;
  double whole = 0;
  const auto add_group = [&](Group group, const std::vector<int>& variants, int begin, int end) {
    const Demand& demand = demands[group.demand];
    const int blocks = blocks_of(demand.images);
    group.wanted.resize(blocks);
    for (const int v : variants) {
      group.beside += demand.costs[v].tile;
      const Extent& extent = demand.extents[v];
      const bool is_first = group.stage == 0;
      for (int block = 0; block < blocks_of(extent.images); ++block) {
        const bool now = extent.may_stop ? block >= begin && block < end : is_first;
        if (now && demand.known[std::size_t(v) * blocks + block] == std::byte(0)) group.wanted[block].push_back(v);
      }
    }
    for (int block = 0; block < blocks; ++block) {
      whole += cost_of(demand.costs, group.wanted[block]) * images_of(block, demand.images);
    }
    groups.push_back(std::move(group));
  };
  for (int d = 0; d < int(demands.size()); ++d) {
    const Demand& demand = demands[d];
    // variants that share nothing have tiles of their own: the fewer variants in one, the fewer weights are read for it
    std::vector<int> sharing;
    for (int v = 0; v < int(demand.costs.size()); ++v) {
      if (demand.costs[v].shared > 0) sharing.push_back(v);
    }
    int begin = 0, stage = 0;
    for (const int end : stage_ends(blocks_of(demand.images))) {
      add_group({d, stage, 0, {}}, sharing, begin, end);
      for (int v = 0; v < int(demand.costs.size()); ++v) {
        if (demand.costs[v].shared == 0) add_group({d, stage, 0, {}}, {v}, begin, end);
      }
      begin = end;
      ++stage;
    }
  }
  // what is dear to prepare while tiles are large
  std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
    return a.stage != b.stage ? a.stage < b.stage : a.beside > b.beside;
  });

  std::vector<Tile> tiles;
  double left = whole;
  std::size_t stage_begin = 0;
  const auto end_stage = [&] {
    std::stable_sort(tiles.begin() + std::ptrdiff_t(stage_begin), tiles.end(),
                     [](const Tile& a, const Tile& b) { return a.cost > b.cost; });
    stage_begin = tiles.size();
  };
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const Group& group = groups[g];
    const Demand& demand = demands[group.demand];
    if (g > 0 && group.stage != groups[g - 1].stage) end_stage();
    const int blocks = blocks_of(demand.images);
    for (int first = 0; first < demand.images;) {
      int block = first / block_images;
      const std::vector<int>& variants = group.wanted[block];
      while (block + 1 < blocks && group.wanted[block + 1] == variants) ++block;
      const int end = std::min((block + 1) * block_images, demand.images);
      if (variants.empty()) {
        first = end;
        continue;
      }
      double beside = 0;
      for (const int variant : variants) beside += demand.costs[variant].tile;
      const double least = std::min(work_per_tile * beside, whole / ranks);
      const double target =
          std::max(least, std::clamp(left / (2 * ranks), whole * (ranks > 1 ? smallest_share : largest_share) / ranks,
                                     whole * largest_share / ranks));
      const double per_image = cost_of(demand.costs, variants);
      const bool coarse = threads <= least_grain && least_grain * per_image >= least_cost &&
                          usual_grain * per_image > coarse_share * whole / ranks;
      const int grain = coarse ? least_grain : usual_grain;
      const int wanted = int(std::min(target / per_image, double(end - first)));
      const int count = std::min(std::max(grain, wanted / grain * grain), end - first);
      // all variants, or where that is too much, as many at a time as the target allows
      Tile tile{group.demand, {}, first, count, 0, 0};
      for (const int variant : variants) {
        std::vector<int> more = tile.variants;
        more.push_back(variant);
        const double cost = cost_of(demand.costs, more) * count;
        if (!tile.variants.empty() && per_image * count > target && cost > target) {
          tiles.push_back(std::move(tile));
          tile = {group.demand, {variant}, first, count, cost_of(demand.costs, std::span(&variant, 1)) * count, 0};
        } else {
          tile.variants = std::move(more);
          tile.cost = cost;
        }
      }
      tiles.push_back(std::move(tile));
      left -= per_image * count;
      first += count;
    }
  }
  end_stage();
  std::map<std::pair<int, std::vector<int>>, int> kinds;
  for (Tile& tile : tiles) {
    const std::vector<VariantCost>& costs = demands[tile.demand].costs;
    tile.kind = -1;
    if (std::all_of(tile.variants.begin(), tile.variants.end(), [&](int v) { return costs[v].tile == 0; })) continue;
    tile.kind = kinds.try_emplace({tile.demand, tile.variants}, int(kinds.size())).first->second;
  }
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

Looks::Looks(std::vector<Extent> extents, std::vector<StopTest> stops, int images)
    : extents_(std::move(extents)),
      stops_(std::move(stops)),
      ends_(stage_ends(blocks_of(images))),
      arrived_(extents_.size(), std::vector<char>(blocks_of(images))),
      whole_(extents_.size()),
      looks_(extents_.size()) {
  for (const Extent& extent : extents_) images_.push_back(extent.images);
}

void Looks::arrive(int variant, int block, std::span<const ImageScore> scores) {
  if (!extents_[variant].may_stop || stopped(variant)) return;
  arrived_[variant][block] = true;
  int& whole = whole_[variant];
  while (whole < int(arrived_[variant].size()) && arrived_[variant][whole]) ++whole;
  for (std::size_t& look = looks_[variant]; look < ends_.size() && ends_[look] <= whole; ++look) {
    const int seen = ends_[look] * block_images;
    if (seen >= extents_[variant].images) return;
    if (stops_[variant](scores.first(seen))) {
      images_[variant] = seen;
      return;
    }
  }
}

}  // namespace bitcluster
