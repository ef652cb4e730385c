#include "harness/journal/content_keys.hpp"

#include <algorithm>
#include <variant>

#include "host/emulation/design.hpp"

namespace bitcluster {
namespace {

void add(KeyBuilder& builder, const Window& window) {
  static_assert(sizeof(Window) == 10 * sizeof(int), "no padding, whose bytes would be undefined");
  builder.add(std::span<const Window>(&window, 1));
}

}  // namespace

Key content_key(const Network& network) {
  KeyBuilder builder;
  for (const Layer& layer : network.layers) {
    builder.add(std::int64_t(layer.operation.index())).add(std::span<const int>(layer.inputs));
    const Shape& shape = layer.output;
    builder.add(std::int64_t(shape.channels)).add(std::int64_t(shape.height)).add(std::int64_t(shape.width));
    builder.add(double(layer.low)).add(double(layer.high));
    if (const auto* convolution = std::get_if<Convolution>(&layer.operation)) {
      add(builder, convolution->window);
      builder.add(std::int64_t(convolution->groups))
          .add(std::int64_t(convolution->fully_connected))
          .add(std::span<const float>(convolution->weights));
      builder.add(std::span<const float>(convolution->bias));
    } else if (const auto* pool = std::get_if<Pool>(&layer.operation)) {
      add(builder, pool->window);
      builder.add(std::int64_t(pool->kind)).add(std::int64_t(pool->count_padding));
    } else if (const auto* rearrange = std::get_if<Rearrange>(&layer.operation)) {
      builder.add(std::span<const std::int32_t>(rearrange->source));
    } else if (const auto* function = std::get_if<Function>(&layer.operation)) {
      builder.add(std::int64_t(function->kind)).add(double(function->alpha)).add(double(function->beta));
    } else if (const auto* norm = std::get_if<LocalResponseNorm>(&layer.operation)) {
      builder.add(std::int64_t(norm->size)).add(double(norm->alpha)).add(double(norm->beta)).add(double(norm->bias));
    }
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
                           int(format.pruned)}) {
    builder.add(std::int64_t(number));
  }
  return builder.add(std::span<const std::int16_t>(weights.values)).add(std::span<const float>(weights.scales)).key();
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
  const int blocks = (images.count + block_images - 1) / block_images;
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
