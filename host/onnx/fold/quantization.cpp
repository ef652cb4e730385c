#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>

#include "host/onnx/element_type.hpp"
#include "host/onnx/fold/folding.hpp"

namespace bitcluster {
namespace {

using Proto = onnx::TensorProto;

/// Scale and zero point of every element of input 0: one for all, one per index of an axis, or one per block of
/// `block_size` indices of it.
class Parameters {
 public:
  explicit Parameters(const Folding& folding) : scale_(folding.argument(1)), zero_(folding.input(2)) {
    const Dims& dims = folding.argument(0).dims;
    if (zero_ && zero_->dims != scale_.dims && zero_->size() != scale_.size()) {
      folding.node.fail("its scale and zero point differ in shape", export_again);
    }
    if (scale_.size() == 1) return;
    const auto axis = std::size_t(folding.node.axis(folding.node.integer("axis", 1), dims.size()));
    block_ = folding.node.integer("block_size", 0);
    extent_ = dims[axis];
    Dims expected = {extent_};
    if (block_ > 0) {
      expected = dims;
      expected[axis] = (extent_ + block_ - 1) / block_;
    }
    blocks_ = block_ > 0 ? expected[axis] : extent_;
    inner_ = element_count(Dims(dims.begin() + std::ptrdiff_t(axis) + 1, dims.end()));
    if (block_ < 0 || scale_.dims != expected) {
      folding.node.fail("its scale or zero point does not fit its input",
                        "give one, or one per index of its axis, or with block_size one per block");
    }
  }

  float scale(std::size_t i) const { return scale_.number(position(i)); }
  std::int64_t zero(std::size_t i) const {
    return zero_ ? std::get<std::vector<std::int64_t>>(zero_->values)[position(i)] : 0;
  }

 private:
  std::size_t position(std::size_t element) const {
    if (scale_.size() == 1) return 0;
    const auto inner = std::int64_t(element) % inner_, index = std::int64_t(element) / inner_ % extent_;
    if (block_ == 0) return std::size_t(index);
    return std::size_t((std::int64_t(element) / inner_ / extent_ * blocks_ + index / block_) * inner_ + inner);
  }

  const Constant& scale_;
  const Constant* zero_;
  std::int64_t extent_ = 1, inner_ = 1, block_ = 0, blocks_ = 1;
};

void check(const Folding& folding) {
  const Constant* zero = folding.input(2);
  if (!folding.argument(1).is_float()) folding.node.fail("its scale is not of a float type", export_again);
  if (zero && zero->is_float()) {
    folding.node.fail("its zero point is not an integer", "quantize to an integer type");
  }
}

Constant quantize(const Folding& folding) {
  check(folding);
  const Constant& from = folding.argument(0);
  const Constant* zero = folding.input(2);
  const Parameters parameters(folding);
  const std::int64_t type = zero ? zero->type : folding.node.integer("output_dtype", 0);
  const std::int64_t to = type == 0 ? std::int64_t(Proto::UINT8) : type;
  const auto [lowest, highest] = integer_range(to);
  if (lowest > highest) folding.node.fail("it quantizes to a type that is not an integer", "use an integer type");
  std::vector<std::int64_t> values(folding.checked_size(from.dims));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float scaled = from.number(i) / parameters.scale(i);
    if (std::isnan(scaled)) folding.node.fail("it quantizes what is not a number", "check the model");
    values[i] = std::int64_t(
        std::clamp(double(std::nearbyint(scaled)) + double(parameters.zero(i)), double(lowest), double(highest)));
  }
  return {from.dims, std::move(values), int(to)};
}

Constant dequantize(const Folding& folding) {
  check(folding);
  const Constant& from = folding.argument(0);
  const Parameters parameters(folding);
  std::vector<float> values(folding.checked_size(from.dims));
  if (from.is_float()) folding.node.fail("its input is not quantized", "give it integers");
  const auto& integers = std::get<std::vector<std::int64_t>>(from.values);
  const int type = folding.argument(1).type;
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = round_to_type(float(integers[i] - parameters.zero(i)) * parameters.scale(i), type);
  }
  return {from.dims, std::move(values), type};
}

}  // namespace

FoldTable quantization_folds() { return {{"DequantizeLinear", one<dequantize>}, {"QuantizeLinear", one<quantize>}}; }

}  // namespace bitcluster
