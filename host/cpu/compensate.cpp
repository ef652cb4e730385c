#include "host/cpu/compensate.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "host/base/parallel.hpp"
#include "host/weights/preparation.hpp"
#include "host/weights/scale_search.hpp"
#include "host/weights/sorted_magnitudes.hpp"

namespace bitcluster {
namespace {

/// Rows of a matrix, or weights of a filter, after which what follows is brought up to date.
constexpr int block_rows = 64;
/// Filters that are rounded side by side: as many as the caches hold for thousands of inputs.
constexpr int side_by_side = 64;

/// (I + V^T) D (I + V) of a symmetric matrix of which the lower triangle is there, in place, from the last row up.
void factorize_in_place(const Kernels& kernels, double* matrix, int size) {
  std::vector<double> coefficients(std::size_t(size) * block_rows);
  for (int end = size; end > 0; end -= block_rows) {
    const int begin = std::max(0, end - block_rows), depth = end - begin;
    for (int t = end - 1; t >= begin; --t) {
      double* const row = matrix + std::size_t(t) * size;
      for (int i = 0; i < t; ++i) coefficients[std::size_t(i) * block_rows + (end - 1 - t)] = row[i];
      for (int i = 0; i < t; ++i) row[i] /= row[t];
      kernels.subtract_product({matrix + std::size_t(begin) * size, size,
                                coefficients.data() + std::size_t(begin) * block_rows + (end - 1 - t), block_rows, row,
                                size, t - begin, 1, t});
    }
    parallel_for((begin + block_rows - 1) / block_rows, [&](long tile, int) {
      const int first = int(tile) * block_rows, last = std::min(first + block_rows, begin);
      kernels.subtract_product(
          {matrix + std::size_t(first) * size, size, coefficients.data() + std::size_t(first) * block_rows, block_rows,
           matrix + std::size_t(end - 1) * size, -std::ptrdiff_t(size), last - first, depth, last});
    });
  }
}

}  // namespace

/// Some filters of one group at given scales.
struct CompensatedRounding::Task {
  std::span<const float> weights;   // (filters, inputs)
  std::span<const float> scales;    // (filters)
  std::span<const Factor> factors;  // of the group
  const RoundingTable& table;
  std::int16_t* values;  // (filters, inputs)
  double* errors;        // (filters) of the output, squared
};

CompensatedRounding::CompensatedRounding(const Kernels& kernels, const InputGram& gram)
    : kernels_(kernels), inputs_(gram.inputs), groups_(gram.groups), importances_(gram.sums.size()) {
  for (const std::int64_t sum : gram.sums)
    means_.push_back(double(sum) / double(std::max<std::int64_t>(1, gram.positions)));
  factors_.resize(std::size_t(groups_) * gram.blocks());
  const auto make = [&](long index, int = 0) {
    factors_[index] = factorize(gram, int(index) / gram.blocks(), int(index) % gram.blocks());
  };
  if (inputs_ > 4 * block_rows) {  // a large matrix takes all threads itself
    for (long index = 0; index < long(factors_.size()); ++index) make(index);
  } else {
    parallel_for(long(factors_.size()), make);
  }
  for (int group = 0; group < groups_; ++group) {
    for (int block = 0; block < gram.blocks(); ++block) {
      const std::int64_t* const triangle = gram.products.data() + gram.triangle(group, block);
      for (int i = 0; i < gram.block_size(block); ++i) {
        importances_[std::size_t(group) * inputs_ + gram.starts[block] + i] =
            double(triangle[std::size_t(i) * (i + 3) / 2]);
      }
    }
  }
}

CompensatedRounding::Factor CompensatedRounding::factorize(const InputGram& gram, int group, int block) const {
  const int size = gram.block_size(block);
  const std::int64_t* const triangle = gram.products.data() + gram.triangle(group, block);
  const auto product = [&](int i, int j) {
    if (i < j) std::swap(i, j);
    return triangle[std::size_t(i) * (i + 1) / 2 + j];
  };
  Factor factor{gram.starts[block], size, std::vector<int>(size), std::vector<double>(std::size_t(size) * size)};
  std::iota(factor.order.begin(), factor.order.end(), 0);
  std::stable_sort(factor.order.begin(), factor.order.end(),
                   [&](int a, int b) { return product(a, a) > product(b, b); });
  std::int64_t trace = 0;
  for (int i = 0; i < size; ++i) trace += product(i, i);
  // inputs that are all zero: any positive number leaves every weight to itself
  const double damping = trace > 0 ? gram_damping * double(trace) / size : 1.0;
  for (int i = 0; i < size; ++i) {
    double* const row = factor.matrix.data() + std::size_t(i) * size;
    for (int j = 0; j <= i; ++j) row[j] = double(product(factor.order[i], factor.order[j]));
    row[i] += damping;
  }
  factorize_in_place(kernels_, factor.matrix.data(), size);
  return factor;
}

void CompensatedRounding::round(const Task& task) const {
  const int filters = int(task.scales.size());
  std::fill_n(task.errors, filters, 0.0);
  std::vector<double> targets, changes;  // (inputs of the block, filters): what is rounded; rounded minus weight
  for (const Factor& factor : task.factors) {
    const int size = factor.size;
    targets.resize(std::size_t(size) * filters);
    changes.resize(std::size_t(size) * filters);
    for (int t = 0; t < size; ++t) {
      const float* const weight = task.weights.data() + factor.start + factor.order[t];
      for (int f = 0; f < filters; ++f) targets[std::size_t(t) * filters + f] = weight[std::size_t(f) * inputs_];
    }
    const auto take_off = [&](int row, int rows, int from, int to) {
      kernels_.subtract_product({targets.data() + std::size_t(row) * filters, filters,
                                 factor.matrix.data() + std::size_t(row) * size + from, size,
                                 changes.data() + std::size_t(from) * filters, filters, rows, to - from, filters});
    };
    for (int begin = 0; begin < size; begin += block_rows) {
      const int end = std::min(begin + block_rows, size);
      take_off(begin, end - begin, 0, begin);
      for (int t = begin; t < end; ++t) {
        take_off(t, 1, begin, t);
        const int input = factor.start + factor.order[t];
        const double importance = factor.matrix[std::size_t(t) * size + t];
        for (int f = 0; f < filters; ++f) {
          const double target = targets[std::size_t(t) * filters + f], scale = task.scales[f];
          const int place = exact_place(std::abs(target) / scale, task.table.last());
          const double magnitude = task.table.nearest[place], value = target < 0 ? -magnitude : magnitude;
          const double rounded = value * scale, left = target - rounded;
          task.errors[f] += importance * (left * left);
          task.values[std::size_t(f) * inputs_ + input] = std::int16_t(value);
          changes[std::size_t(t) * filters + f] = rounded - double(task.weights[std::size_t(f) * inputs_ + input]);
        }
      }
    }
  }
}

/// Of filters [first, first + count): those of least error weighted with the diagonal of the Gram matrix.
std::vector<float> CompensatedRounding::weighted_scales(std::span<const float> weights, const WeightFormat& format,
                                                        std::span<const float> minimum_scales, int first,
                                                        int count) const {
  const ScaleSearch search = format.preparation->scale_search(format);
  const int filters = int(weights.size() / inputs_), filters_per_group = filters / groups_;
  const std::vector<float> minimums = least_scales(filters, format, minimum_scales);
  const auto importance_of = [&](int filter) {
    return std::span(importances_).subspan(std::size_t(filter / filters_per_group) * inputs_, inputs_);
  };
  if (!format.per_channel) {
    std::vector<double> importance;
    for (int filter = 0; filter < filters; ++filter) {
      const auto own = importance_of(filter);
      importance.insert(importance.end(), own.begin(), own.end());
    }
    return std::vector<float>(count, SortedMagnitudes(weights, importance).best_scale(search, minimums[0]));
  }
  std::vector<float> scales(count);
  parallel_for(count, [&](long i, int) {
    const int filter = first + int(i);
    const SortedMagnitudes sorted(weights.subspan(std::size_t(filter) * inputs_, inputs_), importance_of(filter));
    scales[i] = sorted.best_scale(search, minimums[filter]);
  });
  return scales;
}

QuantizedWeights CompensatedRounding::round(std::span<const float> weights, const QuantizedWeights& nearest,
                                            std::span<const float> minimum_scales, int first, int count) const {
  const WeightFormat& format = nearest.format;
  const RoundingTable table = format.preparation->scale_search(format).values;
  const int filters = int(nearest.scales.size()), filters_per_group = filters / groups_;
  std::vector<float> scales[2];
  scales[0].assign(nearest.scales.begin() + first, nearest.scales.begin() + first + count);
  scales[1] = weighted_scales(weights, format, minimum_scales, first, count);

  // rounding at both, filters of one group side by side
  struct Side {
    int filter, count;  // first of them, from `first` on
  };
  std::vector<Side> sides;
  for (int filter = first; filter < first + count;) {
    const int group_end = (filter / filters_per_group + 1) * filters_per_group;
    const int end = std::min({filter + side_by_side, group_end, first + count});
    sides.push_back({filter - first, end - filter});
    filter = end;
  }
  std::vector<std::int16_t> values[2];
  std::vector<double> errors[2];
  for (int i = 0; i < 2; ++i) {
    values[i].resize(std::size_t(count) * inputs_);
    errors[i].resize(count);
  }
  const std::size_t blocks = factors_.size() / groups_;
  parallel_for(2 * long(sides.size()), [&](long task, int) {
    const auto [filter, some] = sides[task / 2];
    const int which = int(task % 2);
    const int group = (first + filter) / filters_per_group;
    round({weights.subspan(std::size_t(first + filter) * inputs_, std::size_t(some) * inputs_),
           std::span(scales[which]).subspan(filter, some), std::span(factors_).subspan(group * blocks, blocks), table,
           values[which].data() + std::size_t(filter) * inputs_, errors[which].data() + filter});
  });

  // the better of the two, for all that share a scale
  QuantizedWeights result{format, std::move(values[0]), std::move(scales[0]), std::vector<float>(count)};
  result.format.rounding = Rounding::compensated;
  const bool all_weighted = std::accumulate(errors[1].begin(), errors[1].end(), 0.0) <
                            std::accumulate(errors[0].begin(), errors[0].end(), 0.0);
  parallel_for(count, [&](long i, int) {
    const std::size_t begin = std::size_t(i) * inputs_;
    if (format.per_channel ? errors[1][i] < errors[0][i] : all_weighted) {
      std::copy_n(values[1].begin() + begin, inputs_, result.values.begin() + begin);
      result.scales[i] = scales[1][i];
    }
    const int filter = first + int(i);
    const double* const means = means_.data() + std::size_t(filter / filters_per_group) * inputs_;
    double change = 0;
    for (int input = 0; input < inputs_; ++input) {
      const double rounded = double(result.scales[i]) * result.values[begin + input];
      change += (double(weights[std::size_t(filter) * inputs_ + input]) - rounded) * means[input];
    }
    result.bias_change[i] = float(change);
  });
  return result;
}

}  // namespace bitcluster
