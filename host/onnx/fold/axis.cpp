#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "host/onnx/fold/folding.hpp"

namespace bitcluster {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Integers up to 2^53 pass through double unchanged.
double exact(const Folding& folding, const Constant& constant, std::size_t i) {
  if (constant.is_float()) return constant.number(i);
  const std::int64_t value = std::get<std::vector<std::int64_t>>(constant.values)[i];
  constexpr std::int64_t limit = std::int64_t(1) << 53;
  if (value < -limit || value > limit) folding.node.fail("an integer is above 2^53", "check the model");
  return double(value);
}

// ---- Reduce...

/// What a reduction makes of the elements that it meets.
struct Reduction {
  double start;
  double (*step)(double so_far, double x);
  double (*finish)(double result, double count);
};

const std::map<std::string, Reduction>& reductions() {
  constexpr auto as_it_is = [](double result, double) { return result; };
  constexpr auto sum = [](double so_far, double x) { return so_far + x; };
  constexpr auto sum_of_squares = [](double so_far, double x) { return so_far + x * x; };
  static const std::map<std::string, Reduction> known = {
      {"ReduceL1", {0, [](double so_far, double x) { return so_far + std::fabs(x); }, as_it_is}},
      {"ReduceL2", {0, sum_of_squares, [](double result, double) { return std::sqrt(result); }}},
      {"ReduceLogSum", {0, sum, [](double result, double) { return std::log(result); }}},
      {"ReduceLogSumExp",
       {0, [](double so_far, double x) { return so_far + std::exp(x); },
        [](double result, double) { return std::log(result); }}},
      {"ReduceMax", {-infinity, [](double so_far, double x) { return std::max(so_far, x); }, as_it_is}},
      {"ReduceMean", {0, sum, [](double result, double count) { return result / count; }}},
      {"ReduceMin", {infinity, [](double so_far, double x) { return std::min(so_far, x); }, as_it_is}},
      {"ReduceProd", {1, [](double so_far, double x) { return so_far * x; }, as_it_is}},
      {"ReduceSum", {0, sum, as_it_is}},
      {"ReduceSumSquare", {0, sum_of_squares, as_it_is}}};
  return known;
}

/// Which axes a node names; all of them where it names none, unless it says that none is meant.
std::vector<bool> reduced_axes(const Folding& folding, std::size_t rank) {
  const std::vector<std::int64_t> axes = folding.list("axes", 1);
  const bool all = axes.empty() && folding.node.integer("noop_with_empty_axes", 0) == 0;
  std::vector<bool> reduced(rank, all);
  for (const std::int64_t axis : axes) reduced[std::size_t(folding.node.axis(axis, rank))] = true;
  return reduced;
}

Dims without(const Dims& dims, const std::vector<bool>& removed) {
  Dims left;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (!removed[i]) left.push_back(dims[i]);
  }
  return left;
}

/// The tensor's shape with extent 1 along some axes; its elements are the groups of elements that differ in those only.
Constant groups_of(const Constant& from, const std::vector<bool>& reduced) {
  Constant groups{from.dims, {}, 0};
  for (std::size_t i = 0; i < reduced.size(); ++i) {
    if (reduced[i]) groups.dims[i] = 1;
  }
  return groups;
}

Constant reduce(const Folding& folding) {
  const Constant& from = folding.argument(0);
  const Reduction& reduction = reductions().at(folding.node.op());
  const std::vector<bool> reduced = reduced_axes(folding, from.dims.size());
  const Constant groups = groups_of(from, reduced);
  std::vector<double> results(folding.checked_size(groups.dims), reduction.start);
  if (from.size() == 0) folding.node.fail("it reduces an empty tensor", "check the shapes of the model");
  Broadcast(folding, {&from, &groups}).for_each([&](std::size_t i, const auto& at) {
    results[at[1]] = reduction.step(results[at[1]], exact(folding, from, i));
  });
  for (double& result : results) result = reduction.finish(result, double(from.size()) / double(results.size()));
  const bool keep = folding.node.integer("keepdims", 1) != 0;
  return folding.of_type(keep ? groups.dims : without(from.dims, reduced), results, from.type);
}

// ---- along one axis

/// ArgMax and ArgMin.
Constant arg_extreme(const Folding& folding) {
  const Constant& from = folding.argument(0);
  const int axis = folding.node.axis(folding.node.integer("axis", 0), from.dims.size());
  const auto extent = std::size_t(from.dims[std::size_t(axis)]);
  if (from.size() == 0) folding.node.fail("its input is empty", "check the shapes of the model");
  const bool last = folding.node.integer("select_last_index", 0) != 0;
  const double sign = folding.node.op() == "ArgMax" ? 1 : -1;
  std::vector<std::int64_t> found;
  for_each_row(from.dims, axis, [&](std::size_t first, std::size_t step) {
    std::size_t best = 0;
    for (std::size_t k = 1; k < extent; ++k) {
      const double gain = sign * (exact(folding, from, first + k * step) - exact(folding, from, first + best * step));
      if (gain > 0 || (last && gain == 0)) best = k;
    }
    found.push_back(std::int64_t(best));
  });
  std::vector<bool> reduced(from.dims.size());
  reduced[std::size_t(axis)] = true;
  const bool keep = folding.node.integer("keepdims", 1) != 0;
  return make_constant(keep ? groups_of(from, reduced).dims : without(from.dims, reduced), std::move(found));
}

Constant softmax(const Folding& folding) {
  const Constant& from = folding.argument(0);
  folding.checked_size(from.dims);
  const bool logarithm = folding.node.op() == "LogSoftmax";
  // before opset 13 every axis from `axis` on took part
  const bool one_axis = folding.node.opset() >= 13;
  int axis = folding.node.axis(folding.node.integer("axis", one_axis ? -1 : 1), from.dims.size());
  Dims dims = from.dims;
  if (!one_axis) {
    dims = {element_count(Dims(dims.begin(), dims.begin() + axis)),
            element_count(Dims(dims.begin() + axis, dims.end()))};
    axis = 1;
  }
  std::vector<double> results(from.size());
  const auto extent = std::size_t(dims[std::size_t(axis)]);
  for_each_row(dims, axis, [&](std::size_t first, std::size_t step) {
    double largest = -infinity, sum = 0;
    for (std::size_t k = 0; k < extent; ++k) largest = std::max(largest, double(from.number(first + k * step)));
    for (std::size_t k = 0; k < extent; ++k) sum += std::exp(from.number(first + k * step) - largest);
    for (std::size_t k = 0; k < extent; ++k) {
      const double x = from.number(first + k * step) - largest;
      results[first + k * step] = logarithm ? x - std::log(sum) : std::exp(x) / sum;
    }
  });
  return folding.of_type(from.dims, results, from.type);
}

/// Divides by the norm of order p along an axis; what is 0 stays so.
Constant lp_normalization(const Folding& folding) {
  const Constant& from = folding.argument(0);
  const int axis = folding.node.axis(folding.node.integer("axis", -1), from.dims.size());
  const std::int64_t order = folding.node.integer("p", 2);
  if (order != 1 && order != 2) folding.node.fail(fmt::format("its p is {}", order), "use 1 or 2");
  std::vector<double> results(folding.checked_size(from.dims));
  const auto extent = std::size_t(from.dims[std::size_t(axis)]);
  for_each_row(from.dims, axis, [&](std::size_t first, std::size_t step) {
    double norm = 0;
    for (std::size_t k = 0; k < extent; ++k) {
      const double x = from.number(first + k * step);
      norm += order == 1 ? std::fabs(x) : x * x;
    }
    if (order == 2) norm = std::sqrt(norm);
    for (std::size_t k = 0; k < extent; ++k) {
      if (norm > 0) results[first + k * step] = from.number(first + k * step) / norm;
    }
  });
  return folding.of_type(from.dims, results, from.type);
}

// ---- normalization of weights

/// (x - mean) / sqrt(variance + epsilon) within each group.
std::vector<double> standardize(const Folding& folding, const Constant& from, const std::vector<bool>& axes,
                                double epsilon) {
  const Constant groups = groups_of(from, axes);
  const Broadcast both(folding, {&from, &groups});
  std::vector<double> means(groups.size()), squares(groups.size()), results(from.size());
  if (from.size() == 0) folding.node.fail("its input is empty", "check the shapes of the model");
  const double count = double(from.size()) / double(groups.size());
  both.for_each([&](std::size_t i, const auto& at) { means[at[1]] += double(from.number(i)) / count; });
  both.for_each([&](std::size_t i, const auto& at) {
    const double x = from.number(i) - means[at[1]];
    squares[at[1]] += x * x;
  });
  both.for_each([&](std::size_t i, const auto& at) {
    results[i] = (from.number(i) - means[at[1]]) / std::sqrt(squares[at[1]] / count + epsilon);
  });
  return results;
}

/// The node's scale (input 1) and shift (input 2, which may be left out), behind what it normalizes.
Constant scale_and_shift(const Folding& folding, const std::vector<double>& normalized, const Dims& parameter_dims) {
  const Constant& from = folding.argument(0);
  Constant scale = folding.argument(1);
  Constant shift = folding.node.has_input(2) ? folding.argument(2) : make_constant({}, std::vector<float>{0});
  for (Constant* parameter : {&scale, &shift}) {
    const bool fits = parameter->size() == std::size_t(element_count(parameter_dims));
    if (fits && parameter->size() > 1) parameter->dims = parameter_dims;
  }
  const Broadcast all(folding, {&from, &scale, &shift});
  if (all.dims() != from.dims) folding.node.fail("its parameters do not fit its input", export_again);
  std::vector<double> results(all.size());
  all.for_each(
      [&](std::size_t i, const auto& at) { results[i] = normalized[i] * scale.number(at[1]) + shift.number(at[2]); });
  return folding.of_type(from.dims, results, from.type);
}

/// (1, channels, 1, ...); Error where there is no axis of channels.
Dims channel_dims(const Folding& folding) {
  const Dims& from = folding.argument(0).dims;
  if (from.size() < 2) folding.node.fail("its input has no channels", export_again);
  Dims dims(from.size(), 1);
  dims[1] = from[1];
  return dims;
}

/// With given mean and variance, or, in training mode, those of the input: weight standardization is often written so.
Constant batch_normalization(const Folding& folding) {
  const Constant& from = folding.argument(0);
  const Dims dims = channel_dims(folding);
  const double epsilon = folding.node.number("epsilon", 1e-5f);
  if (folding.node.integer("training_mode", 0) != 0) {
    std::vector<bool> axes(from.dims.size(), true);
    axes[1] = false;
    return scale_and_shift(folding, standardize(folding, from, axes, epsilon), dims);
  }
  if (folding.node.opset() < 14 && folding.node.outputs() > 1) {
    folding.node.fail("it is in training mode", "export the model in evaluation mode");
  }
  Constant mean = folding.argument(3), variance = folding.argument(4);
  if (mean.size() != std::size_t(dims[1]) || variance.size() != std::size_t(dims[1])) {
    folding.node.fail("its parameters do not fit its input", export_again);
  }
  mean.dims = variance.dims = dims;
  std::vector<double> normalized(folding.checked_size(from.dims));
  Broadcast(folding, {&from, &mean, &variance}).for_each([&](std::size_t i, const auto& at) {
    normalized[i] = (double(from.number(i)) - mean.number(at[1])) / std::sqrt(variance.number(at[2]) + epsilon);
  });
  return scale_and_shift(folding, normalized, dims);
}

Constant instance_normalization(const Folding& folding) {
  const Constant& from = folding.argument(0);
  const Dims dims = channel_dims(folding);
  std::vector<bool> axes(from.dims.size(), true);
  axes[0] = axes[1] = false;
  return scale_and_shift(folding, standardize(folding, from, axes, folding.node.number("epsilon", 1e-5f)), dims);
}

Constant layer_normalization(const Folding& folding) {
  const Constant& from = folding.argument(0);
  const auto axis = std::size_t(folding.node.axis(folding.node.integer("axis", -1), from.dims.size()));
  std::vector<bool> axes(from.dims.size());
  std::fill(axes.begin() + std::ptrdiff_t(axis), axes.end(), true);
  const Dims dims(from.dims.begin() + std::ptrdiff_t(axis), from.dims.end());
  return scale_and_shift(folding, standardize(folding, from, axes, folding.node.number("epsilon", 1e-5f)), dims);
}

}  // namespace

FoldTable axis_folds() {
  FoldTable table = {{"ArgMax", one<arg_extreme>},
                     {"ArgMin", one<arg_extreme>},
                     {"BatchNormalization", one<batch_normalization>},
                     {"InstanceNormalization", one<instance_normalization>},
                     {"LayerNormalization", one<layer_normalization>},
                     {"LogSoftmax", one<softmax>},
                     {"LpNormalization", one<lp_normalization>},
                     {"Softmax", one<softmax>}};
  for (const auto& [name, reduction] : reductions()) table[name] = one<reduce>;
  return table;
}

}  // namespace bitcluster
