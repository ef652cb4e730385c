#include "harness/journal/content_keys.hpp"

#include <algorithm>
#include <type_traits>
#include <variant>

#include "host/base/overloaded.hpp"
#include "host/emulation/design.hpp"
#include "host/weights/preparation.hpp"

namespace bitcluster {
namespace {

void add(KeyBuilder& builder, const Window& window) {
  static_assert(sizeof(Window) == 10 * sizeof(int), "no padding, whose bytes would be undefined");
  builder.add(std::span<const Window>(&window, 1));
}

/// Adds every field of an operation: bindings name all of them, so that a new one does not compile until it is added.
struct AddFields {
  KeyBuilder& builder;

  void operator()(const OneOf<Input, Add, Multiply, Concat> auto& operation) const {
    static_assert(std::is_empty_v<std::remove_cvref_t<decltype(operation)>>);
  }

  void operator()(const Convolution& convolution) const {
    const auto& [window, filters, groups, fully_connected, weights, bias] = convolution;
    add(builder, window);
    builder.add(std::int64_t(filters)).add(std::int64_t(groups)).add(std::int64_t(fully_connected));
    builder.add(std::span<const float>(weights)).add(std::span<const float>(bias));
  }

  void operator()(const Pool& pool) const {
    const auto& [kind, window, count_padding] = pool;
    add(builder, window);
    builder.add(std::int64_t(kind)).add(std::int64_t(count_padding));
  }

  void operator()(const Rearrange& rearrange) const {
    const auto& [source] = rearrange;
    builder.add(std::span<const std::int32_t>(source));
  }

  void operator()(const Function& function) const {
    const auto& [kind, alpha, beta] = function;
    builder.add(std::int64_t(kind)).add(double(alpha)).add(double(beta));
  }

  void operator()(const LocalResponseNorm& norm) const {
    const auto& [size, alpha, beta, bias] = norm;
    builder.add(std::int64_t(size)).add(double(alpha)).add(double(beta)).add(double(bias));
  }
};

}  // namespace

Key content_key(const Network& network) {
  KeyBuilder builder;
  for (const Layer& layer : network.layers) {
    // the name decides nothing, the step no more than the activation formats say
    const auto& [name, operation, inputs, output, low, high, step] = layer;
    builder.add(std::int64_t(operation.index())).add(std::span<const int>(inputs));
    const auto& [channels, height, width] = output;
    builder.add(std::int64_t(channels)).add(std::int64_t(height)).add(std::int64_t(width));
    builder.add(double(low)).add(double(high));
    std::visit(AddFields{builder}, operation);
  }
  return builder.key();
}

Key content_key(const IntegerNetwork& network) {
  KeyBuilder builder;
  builder.add(content_key(network.network));
  for (const ActivationFormat& format : network.formats) {
    builder.add(double(format.scale)).add(std::int64_t(format.is_signed));
  }
  return builder.add(std::span<const std::int8_t>(network.input_table)).key();
}

Key content_key(const QuantizedWeights& weights) {
  const WeightFormat& format = weights.format;
  KeyBuilder builder;
  for (const int number : {format.bits, int(format.encoding), format.terms, int(format.exact), int(format.per_channel),
                           int(format.rounding)}) {
    builder.add(std::int64_t(number));
  }
  builder.add(format.preparation->name);
  builder.add(std::span<const std::int16_t>(weights.values)).add(std::span<const float>(weights.scales));
  return builder.add(std::span<const float>(weights.bias_change)).key();
}

Key content_key(const Accelerator& accelerator) {
  KeyBuilder builder;
  builder.add(accelerator.design->name);
  for (const AcceleratorField& field : accelerator_fields()) {
    std::visit([&](const auto value) { builder.add(value); }, field.of(accelerator));
  }
  return builder.key();
}

namespace {

std::vector<Key> content_keys(const IntegerNetwork& network) {
  std::vector<Key> keys = {content_key(network)};
  for (const QuantizedWeights& weights : network.weights) keys.push_back(content_key(weights));
  return keys;
}

std::vector<Key> content_keys(const Ranks& ranks, const Images& images) {
  const int blocks = image_blocks(images.count);
  std::vector<Key> keys(static_cast<std::size_t>(blocks));
  std::vector<int> starts;  // of every rank [byte]
  for (int rank = 0; rank <= ranks.size(); ++rank) starts.push_back(int(ranks.first_of(blocks, rank) * sizeof(Key)));
  ranks.on_all([&] {
    const int end = int(ranks.first_of(blocks, ranks.rank() + 1));
    for (int block = int(ranks.first_of(blocks, ranks.rank())); block < end; ++block) {
      const int first = block * block_images, count = std::min(block_images, images.count - first);
      keys[block] = KeyBuilder()
                        .add(images.pixels(first, count))
                        .add(std::span<const std::int32_t>(images.labels).subspan(first, count))
                        .key();
    }
  });
  ranks.join(std::as_writable_bytes(std::span(keys)), starts);
  return keys;
}

}  // namespace

template <class T>
const std::vector<Key>& KeyCache::find(const std::shared_ptr<const T>& object,
                                       const std::function<std::vector<Key>()>& make) {
  auto& [owner, keys] = keys_[object.get()];
  if (owner.expired()) {  // new, or another object was at this address
    keys = make();
    owner = object;
  }
  return keys;
}

const std::vector<Key>& KeyCache::of(const std::shared_ptr<const IntegerNetwork>& network) {
  return find(network, [&] { return content_keys(*network); });
}

const std::vector<Key>& KeyCache::of(const std::shared_ptr<const QuantizedWeights>& weights) {
  return find(weights, [&] { return std::vector<Key>{content_key(*weights)}; });
}

const std::vector<Key>& KeyCache::of(const Ranks& ranks, const std::shared_ptr<const Images>& images) {
  return find(images, [&] { return content_keys(ranks, *images); });
}

}  // namespace bitcluster
