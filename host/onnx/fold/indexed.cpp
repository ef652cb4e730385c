#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <numeric>

#include "host/onnx/element_type.hpp"
#include "host/onnx/fold/folding.hpp"

namespace bitcluster {
namespace {

using Integers = std::vector<std::int64_t>;
using Positions = std::vector<std::size_t>;

const Integers& integers_in(const Folding& folding, int index) {
  const Constant& constant = folding.argument(index);
  if (constant.is_float()) folding.node.fail(fmt::format("its input {} is not of integers", index), export_again);
  return std::get<Integers>(constant.values);
}

/// An index into an axis, counted from its end where it is negative.
std::size_t checked_index(const Folding& folding, std::int64_t index, std::int64_t extent) {
  if (index < -extent || index >= extent) folding.node.fail("an index is outside the tensor", export_again);
  return std::size_t(index < 0 ? index + extent : index);
}

/// Elements of a tensor at positions.
Constant pick(const Constant& from, Dims dims, const Positions& positions) {
  Constant result{std::move(dims), {}, from.type};
  std::visit(
      [&](const auto& values) {
        std::decay_t<decltype(values)> picked;
        picked.reserve(positions.size());
        for (const std::size_t position : positions) picked.push_back(values[position]);
        result.values = std::move(picked);
      },
      from.values);
  return result;
}

/// `data` with updates at positions, combined as the node says.
Constant scatter(const Folding& folding, const Positions& positions, const Constant& updates) {
  const Constant& data = folding.argument(0);
  folding.checked_size(data.dims);
  if (positions.size() != updates.size() || updates.is_float() != data.is_float()) {
    folding.node.fail("its updates do not fit its indices or its input", export_again);
  }
  const std::string reduction = folding.node.text("reduction", "none");
  if (reduction != "none" && reduction != "add" && reduction != "mul" && reduction != "min" && reduction != "max") {
    folding.node.fail(fmt::format("its reduction is '{}'", reduction), "use none, add, mul, min or max");
  }
  Constant result = data;
  std::visit(
      [&](auto& values) {
        const auto& added = std::get<std::decay_t<decltype(values)>>(updates.values);
        for (std::size_t i = 0; i < positions.size(); ++i) {
          auto& value = values[positions[i]];
          value = reduction == "none"  ? added[i]
                  : reduction == "add" ? value + added[i]
                  : reduction == "mul" ? value * added[i]
                  : reduction == "min" ? std::min(value, added[i])
                                       : std::max(value, added[i]);
        }
      },
      result.values);
  return result;
}

// ---- an index per element

/// Positions in input 0 of the elements that input 1 names along an axis.
Positions along_axis(const Folding& folding) {
  const Constant &data = folding.argument(0), &indices = folding.argument(1);
  const Integers& values = integers_in(folding, 1);
  const std::size_t rank = data.dims.size();
  const auto axis = std::size_t(folding.node.axis(folding.node.integer("axis", 0), rank));
  if (indices.dims.size() != rank) folding.node.fail("its indices have another rank than its input", export_again);
  for (std::size_t i = 0; i < rank; ++i) {
    if (i != axis && indices.dims[i] > data.dims[i])
      folding.node.fail("it has more indices than elements", export_again);
  }
  Positions positions(folding.checked_size(indices.dims));
  for (std::size_t i = 0; i < positions.size(); ++i) {
    std::size_t rest = i, stride = 1;
    for (std::size_t k = rank; k-- > 0;) {
      const std::size_t at = rest % std::size_t(indices.dims[k]);
      rest /= std::size_t(indices.dims[k]);
      positions[i] += stride * (k == axis ? checked_index(folding, values[i], data.dims[k]) : at);
      stride *= std::size_t(data.dims[k]);
    }
  }
  return positions;
}

Constant gather_elements(const Folding& folding) {
  return pick(folding.argument(0), folding.argument(1).dims, along_axis(folding));
}

Constant scatter_elements(const Folding& folding) { return scatter(folding, along_axis(folding), folding.argument(2)); }

// ---- an index per slice

/// Positions in input 0 of the slices that the rows of input 1 name, and the extents of all slices together.
std::pair<Positions, Dims> slices(const Folding& folding) {
  const Constant &data = folding.argument(0), &indices = folding.argument(1);
  const Integers& values = integers_in(folding, 1);
  const auto rank = std::int64_t(data.dims.size());
  const std::int64_t batch = folding.node.integer("batch_dims", 0);
  const std::int64_t named = indices.dims.empty() ? 0 : indices.dims.back();
  if (named < 1 || batch < 0 || batch + named > rank || batch >= std::int64_t(indices.dims.size())) {
    folding.node.fail("its indices do not fit its input", export_again);
  }
  const auto count = [](auto first, auto last) { return std::size_t(element_count(Dims(first, last))); };
  Dims dims(indices.dims.begin(), indices.dims.end() - 1);
  dims.insert(dims.end(), data.dims.begin() + batch + named, data.dims.end());
  folding.checked_size(dims);
  const std::size_t rows = values.size() / std::size_t(named);
  const std::size_t rows_per_batch =
      rows / std::max<std::size_t>(1, count(indices.dims.begin(), indices.dims.begin() + batch));
  const std::size_t slice = count(data.dims.begin() + batch + named, data.dims.end());
  const std::size_t batch_size = count(data.dims.begin() + batch, data.dims.end());
  Positions positions;
  for (std::size_t row = 0; row < rows; ++row) {
    std::size_t first = 0;
    for (std::int64_t k = 0; k < named; ++k) {
      const std::int64_t extent = data.dims[std::size_t(batch + k)];
      const std::int64_t index = values[row * std::size_t(named) + std::size_t(k)];
      first = first * std::size_t(extent) + checked_index(folding, index, extent);
    }
    first = first * slice + row / rows_per_batch * batch_size;
    if (first + slice > data.size()) folding.node.fail("its indices do not fit its input", export_again);
    for (std::size_t i = 0; i < slice; ++i) positions.push_back(first + i);
  }
  return {std::move(positions), std::move(dims)};
}

Constant gather_nd(const Folding& folding) {
  auto found = slices(folding);
  return pick(folding.argument(0), std::move(found.second), found.first);
}

Constant scatter_nd(const Folding& folding) { return scatter(folding, slices(folding).first, folding.argument(2)); }

// ---- order

/// The k largest or smallest elements along an axis, sorted, and their indices.
std::vector<Constant> top_k(const Folding& folding) {
  const Constant& from = folding.argument(0);
  const int axis = folding.node.axis(folding.node.integer("axis", -1), from.dims.size());
  const std::int64_t extent = from.dims[std::size_t(axis)];
  const auto count = std::int64_t(folding.number(1, 0));
  if (count < 0 || count > extent)
    folding.node.fail(fmt::format("it takes {} of {} elements", count, extent), export_again);
  const bool largest = folding.node.integer("largest", 1) != 0;
  Dims dims = from.dims;
  dims[std::size_t(axis)] = count;
  Positions positions(folding.checked_size(dims));
  Integers indices(positions.size());
  std::size_t row = 0;
  for_each_row(from.dims, axis, [&](std::size_t first, std::size_t step) {
    Integers order(static_cast<std::size_t>(extent));
    std::iota(order.begin(), order.end(), 0);
    const auto value = [&](std::int64_t k) { return from.number(first + std::size_t(k) * step); };
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return largest ? value(a) > value(b) : value(a) < value(b);
    });
    // rows of the result have the same step and come in the same order
    const std::size_t start = row / step * step * std::size_t(count) + row % step;
    for (std::size_t k = 0; k < std::size_t(count); ++k) {
      indices[start + k * step] = order[k];
      positions[start + k * step] = first + std::size_t(order[k]) * step;
    }
    ++row;
  });
  std::vector<Constant> results;
  results.push_back(pick(from, dims, positions));
  results.push_back(make_constant(dims, std::move(indices)));
  return results;
}

// ---- matrices by position

/// Keeps the triangle above, or below, a diagonal.
Constant triangle(const Folding& folding) {
  const Constant& from = folding.argument(0);
  if (from.dims.size() < 2) folding.node.fail("its input is no matrix", export_again);
  folding.checked_size(from.dims);
  const auto diagonal = std::int64_t(folding.number(1, 0));
  const bool upper = folding.node.integer("upper", 1) != 0;
  const std::int64_t columns = from.dims.back(), rows = from.dims.end()[-2];
  Constant result = from;
  std::visit(
      [&](auto& values) {
        for (std::size_t i = 0; i < values.size(); ++i) {
          const std::int64_t right = std::int64_t(i) % columns - std::int64_t(i) / columns % rows;
          if (upper ? right < diagonal : right > diagonal) values[i] = 0;
        }
      },
      result.values);
  return result;
}

/// Ones on a diagonal: what identity and Dirac weights begin with.
Constant eye_like(const Folding& folding) {
  const Constant& from = folding.argument(0);
  if (from.dims.size() != 2) folding.node.fail("its input is no matrix", export_again);
  const std::int64_t diagonal = folding.node.integer("k", 0), columns = from.dims[1];
  std::vector<double> numbers(folding.checked_size(from.dims));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = std::int64_t(i) % columns - std::int64_t(i) / columns == diagonal;
  }
  return folding.of_type(from.dims, numbers, folding.node.integer("dtype", from.type));
}

}  // namespace

FoldTable indexed_folds() {
  return {{"EyeLike", one<eye_like>},
          {"GatherElements", one<gather_elements>},
          {"GatherND", one<gather_nd>},
          {"Scatter", one<scatter_elements>},
          {"ScatterElements", one<scatter_elements>},
          {"ScatterND", one<scatter_nd>},
          {"TopK", top_k},
          {"Trilu", one<triangle>}};
}

}  // namespace bitcluster
