#include "host/cpu/backend.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>
#include <variant>

#include "host/base/error.hpp"
#include "host/base/parallel.hpp"
#include "host/cpu/packed_convolution.hpp"
#include "host/cpu/quantize.hpp"
#include "host/inference/computed_layers.hpp"
#include "host/inference/layer_constants.hpp"

namespace bitcluster {
namespace {

/// Largest tensor of a chunk of images: small enough for tensors to stay in the caches, large enough for the cost of a
/// layer's call to vanish.
constexpr std::size_t chunk_bytes = 1 << 20;
constexpr int largest_chunk = 64;

/// Images that share one reading of weights where a layer has more weights than the caches hold.
constexpr int weight_bound_chunk = 16;
constexpr std::size_t weight_bound_bytes = 1 << 20;

/// What one thread owns.
struct Workspace {
  BufferPool pool;
  Buffer scratch;
  std::vector<const std::uint8_t*> positions;
};

/// What evaluation needs to know of one layer beside the network itself.
struct LayerPlan {
  LayerConstants constants;
  std::optional<PackedConvolution> convolution;  //!< with the reference weights
};

/// Computes one layer for some images, all tensors (images, h, w, c).
struct RunLayer {
  const Kernels& kernels;
  const IntegerNetwork& network;
  const Layer& layer;
  const LayerConstants& constants;
  const PackedConvolution* convolution;  //!< of a layer with weights
  const std::uint8_t* pixels;
  std::span<const Buffer* const> inputs;
  int images;
  Workspace& workspace;
  void* output;  //!< bytes, or floats where `real`
  bool real;     //!< the last layer's

  const Shape& from(std::size_t input = 0) const { return network.network.layers[layer.inputs[input]].output; }
  const Shape& to() const { return layer.output; }
  std::size_t count() const { return images * to().size(); }
  std::size_t positions() const { return std::size_t(images) * to().height * to().width; }

  Operand operand(std::size_t i, std::size_t first = 0) const {
    return {inputs[i]->as<std::uint8_t>() + first, network.formats[layer.inputs[i]].is_signed,
            constants.multipliers[std::min(i, constants.multipliers.size() - 1)]};
  }

  Result result_at(std::size_t first) const {
    return {static_cast<char*>(output) + first * (real ? sizeof(float) : 1), constants.range, real};
  }

  void operator()(const Input&) const {
    const int channels = to().channels;
    const std::size_t positions = this->positions();
    const std::uint8_t* const from = pixels;
    std::uint8_t* const bytes = static_cast<std::uint8_t*>(output);
    for (int c = 0; c < channels; ++c) {
      const std::int8_t* table = network.input_table.data() + c * 256;
      for (std::size_t i = 0; i < positions; ++i) bytes[i * channels + c] = std::uint8_t(table[from[i * channels + c]]);
    }
  }

  void operator()(const Convolution&) const {
    convolution->run(inputs[0]->as<void>(), images, {output, constants.range, real}, workspace.scratch);
  }

  void operator()(const Pool& pool) const {
    const Shape &from = this->from(), &to = this->to();
    const Window& window = pool.window;
    const bool average = pool.kind == Pool::Kind::average;
    const Operand input = operand(0);
    std::vector<const std::uint8_t*>& inside = workspace.positions;
    PoolTask task{nullptr, 0, to.channels, input.is_signed, input.multiplier};
    const std::size_t positions = this->positions();
    for (std::size_t position = 0; position < positions; ++position) {
      const int x = int(position % to.width), y = int(position / to.width % to.height);
      const std::size_t image = position / to.width / to.height;
      inside.clear();
      for (int ky = 0; ky < window.kernel_h; ++ky) {
        const int iy = y * window.stride_h - window.pad_top + ky * window.dilation_h;
        if (iy < 0 || iy >= from.height) continue;
        for (int kx = 0; kx < window.kernel_w; ++kx) {
          const int ix = x * window.stride_w - window.pad_left + kx * window.dilation_w;
          if (ix < 0 || ix >= from.width) continue;
          inside.push_back(input.values + ((image * from.height + iy) * from.width + ix) * from.channels);
        }
      }
      task.positions = inside.data();
      task.count = int(inside.size());
      if (average) task.multiplier = constants.position_multipliers[position % (std::size_t(to.height) * to.width)];
      // an empty window averages to zero
      (average || inside.empty() ? kernels.average_pool : kernels.max_pool)(task, result_at(position * to.channels));
    }
  }

  void operator()(const Add&) const { kernels.add(operand(0), operand(1), result_at(0), count()); }

  void operator()(const Multiply&) const {
    if (from(0) == from(1)) {
      kernels.multiply(operand(0), operand(1), result_at(0), count());
      return;
    }
    const std::size_t channels = to().channels, plane = std::size_t(to().height) * to().width;
    for (std::size_t position = 0; position < positions(); ++position) {
      kernels.multiply(operand(0, position * channels), operand(1, position / plane * channels),
                       result_at(position * channels), channels);
    }
  }

  void operator()(const Concat&) const {
    std::size_t first = 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const std::size_t channels = from(i).channels;
      for (std::size_t position = 0; position < positions(); ++position) {
        const Operand part = operand(i, position * channels);
        const Result result = result_at(position * to().channels + first);
        if (constants.copies) {
          std::memcpy(result.values, part.values, channels);
        } else {
          kernels.rescale(part, result, channels);
        }
      }
      first += channels;
    }
  }

  void operator()(const Rearrange&) const {
    const std::int32_t* const source = constants.source.data();
    for (int image = 0; image < images; ++image) {
      const std::uint8_t* const values = operand(0, image * from().size()).values;
      look_up(image, [=](std::size_t i) { return source[i] < 0 ? std::uint8_t(0) : values[source[i]]; });
    }
  }

  void operator()(const Function&) const {
    for (int image = 0; image < images; ++image) {
      const std::uint8_t* const values = operand(0, image * to().size()).values;
      look_up(image, [=](std::size_t i) { return values[i]; });
    }
  }

  void operator()(const LocalResponseNorm& norm) const {
    const int channels = to().channels;
    const auto [before, after] = channel_window(norm, channels);
    workspace.scratch.reserve((std::size_t(channels) + before + after) * sizeof(std::int32_t));
    for (std::size_t position = 0; position < positions(); ++position) {
      kernels.normalize(operand(0, position * channels), channels, before, after, constants.square_table.data(),
                        workspace.scratch.as<std::int32_t>(), result_at(position * channels));
    }
  }

  /// Output of one image by its input's bytes; byte(i) gives that of element i.
  template <class Byte>
  void look_up(int image, Byte&& byte) const {
    const std::size_t size = to().size();
    if (real) {
      const auto& table = constants.reals;
      float* const values = static_cast<float*>(output) + image * size;
      for (std::size_t i = 0; i < size; ++i) values[i] = table[byte(i)];
    } else {
      const auto& table = constants.bytes;
      std::uint8_t* const values = static_cast<std::uint8_t*>(output) + image * size;
      for (std::size_t i = 0; i < size; ++i) values[i] = table[byte(i)];
    }
  }
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const Kernels& kernels) : kernels_(kernels) {}

  std::string description() const override {
    return fmt::format("cpu ({}, {} threads)", kernels_.name, thread_count());
  }

  void load(const IntegerNetwork& network) override;
  bool can_hold() const override { return false; }
  void hold(std::span<const std::uint8_t>) override {}
  void evaluate(ImageBatch images, std::span<const Variant> variants, std::span<float> logits) override;
  void observe_inputs(ImageBatch images, const Variant& variant, const InputObserver& observer) override;
  QuantizedWeights quantize(std::span<const float> weights, int filters, const WeightFormat& format,
                            std::span<const float> minimum_scales) override {
    return quantize_with(kernels_, weights, filters, format, minimum_scales);
  }

 private:
  using Tensors = std::vector<Buffer>;
  using ChangedWeights = std::map<int, const PackedConvolution*>;  //!< by layer
  struct CachedWeights {
    std::shared_ptr<const QuantizedWeights> weights;  // kept, so that its address means it
    std::optional<PackedConvolution> convolution;
  };
  using Cache = std::map<std::pair<int, const QuantizedWeights*>, CachedWeights>;

  const IntegerNetwork& loaded() const;
  const std::vector<Layer>& layers() const { return network_->network.layers; }
  int last() const { return int(layers().size()) - 1; }
  PackedConvolution pack(int layer, const QuantizedWeights& weights, Buffer storage = {}) const;
  std::vector<ChangedWeights> pack(std::span<const Variant> variants);
  int choose_chunk(int count) const;

  void run(Pass pass, const ChangedWeights& weights, const std::uint8_t* pixels, int images, Workspace& workspace,
           const Tensors& reference, Tensors& tensors) const;
  void copy_logits(const Buffer& tensor, int images, float* logits) const;

  const Kernels& kernels_;
  const IntegerNetwork* network_ = nullptr;
  std::vector<LayerPlan> plans_;
  Cache cache_;                        //!< of the last call that had changed weights
  std::vector<Workspace> workspaces_;  //!< per thread
};

bool is_convolution(const Layer& layer) { return std::holds_alternative<Convolution>(layer.operation); }

const IntegerNetwork& CpuBackend::loaded() const {
  if (!network_) throw Error("cannot evaluate", "no network is loaded", "call load() first");
  return *network_;
}

PackedConvolution CpuBackend::pack(int index, const QuantizedWeights& weights, Buffer storage) const {
  const Layer& layer = layers()[index];
  const int input = layer.inputs[0];
  return PackedConvolution(kernels_, std::get<Convolution>(layer.operation), layers()[input].output, layer.output,
                           weights.values, network_->formats[input].is_signed,
                           requantization(*network_, index, weights), std::move(storage));
}

void CpuBackend::load(const IntegerNetwork& network) {
  network_ = &network;
  plans_.clear();
  plans_.resize(layers().size());
  cache_.clear();
  workspaces_.clear();
  // several layers at once: packing large layers takes a while
  parallel_for(long(layers().size()), [&](long index, int) {
    const Layer& layer = layers()[index];
    LayerPlan& plan = plans_[index];
    plan.constants = layer_constants(network, int(index));
    if (is_convolution(layer)) plan.convolution.emplace(pack(int(index), network.weights[index]));
  });
}

int CpuBackend::choose_chunk(int count) const {
  std::size_t largest = 1;
  bool weight_bound = false;
  for (const Layer& layer : layers()) {
    largest = std::max(largest, layer.output.size());
    if (const auto* convolution = std::get_if<Convolution>(&layer.operation)) {
      weight_bound = weight_bound || convolution->weights.size() > weight_bound_bytes;
    }
  }
  int chunk = std::clamp(int(chunk_bytes / largest), 1, largest_chunk);
  if (weight_bound) chunk = std::max(chunk, weight_bound_chunk);
  const int threads = thread_count();
  return std::clamp((count + threads - 1) / threads, 1, chunk);
}

/// Weights that the last call with changes had as well are packed already; the storage of its others is used again.
std::vector<CpuBackend::ChangedWeights> CpuBackend::pack(std::span<const Variant> variants) {
  std::map<Cache::key_type, std::shared_ptr<const QuantizedWeights>> wanted;
  for (const Variant& variant : variants) {
    for (const WeightChange& change : variant) wanted[{change.layer, change.weights.get()}] = change.weights;
  }
  if (wanted.empty()) return std::vector<ChangedWeights>(variants.size());
  BufferPool storage;
  for (auto entry = cache_.begin(); entry != cache_.end();) {
    if (wanted.contains(entry->first)) {
      ++entry;
    } else {
      if (entry->second.convolution) storage.give(std::move(*entry->second.convolution).release());
      entry = cache_.erase(entry);
    }
  }
  struct Missing {
    int layer;
    CachedWeights* entry;
    Buffer storage;
  };
  std::vector<Missing> missing;
  for (auto& [key, weights] : wanted) {
    CachedWeights& entry = cache_[key];
    if (entry.convolution) continue;
    entry.weights = weights;
    missing.push_back({key.first, &entry, storage.take(weights->values.size())});
  }
  parallel_for(long(missing.size()), [&](long i, int) {
    missing[i].entry->convolution.emplace(
        pack(missing[i].layer, *missing[i].entry->weights, std::move(missing[i].storage)));
  });
  std::vector<ChangedWeights> result;
  for (const Variant& variant : variants) {
    ChangedWeights& changed = result.emplace_back();
    for (const WeightChange& change : variant) {
      changed[change.layer] = &*cache_.at({change.layer, change.weights.get()}).convolution;
    }
  }
  return result;
}

void CpuBackend::evaluate(ImageBatch images, std::span<const Variant> variants, std::span<float> logits) {
  const std::size_t classes = loaded().network.classes(), image_size = network_->network.input().size();
  if (images.count < 0 || logits.size() != variants.size() * images.count * classes) {
    throw Error(fmt::format("cannot evaluate {} images", images.count),
                fmt::format("the place for logits has {} values", logits.size()), "give (variants, count, classes)");
  }
  std::vector<Pass> passes;
  for (const Variant& variant : variants) passes.push_back(variant_pass(network_->network, variant));
  const std::vector<ChangedWeights> weights = pack(variants);
  const Pass shared_pass = reference_pass(network_->network, passes);

  workspaces_.resize(thread_count());
  const int chunk = choose_chunk(images.count);
  parallel_for((images.count + chunk - 1) / chunk, [&](long index, int thread) {
    Workspace& workspace = workspaces_[thread];
    const int first = int(index) * chunk, count = std::min(chunk, images.count - first);
    const std::uint8_t* pixels = images.pixels + first * image_size;
    const Tensors nothing(layers().size());
    Tensors reference(layers().size());
    run(shared_pass, {}, pixels, count, workspace, nothing, reference);
    for (std::size_t variant = 0; variant < variants.size(); ++variant) {
      float* const to = logits.data() + (variant * images.count + first) * classes;
      if (!passes[variant].computes[last()]) {
        copy_logits(reference[last()], count, to);
        continue;
      }
      Tensors tensors(layers().size());
      run(passes[variant], weights[variant], pixels, count, workspace, reference, tensors);
      copy_logits(tensors[last()], count, to);
      workspace.pool.give(std::move(tensors[last()]));
    }
    for (Buffer& tensor : reference) {
      if (tensor.capacity() > 0) workspace.pool.give(std::move(tensor));
    }
  });
}

void CpuBackend::observe_inputs(ImageBatch images, const Variant& variant, const InputObserver& observer) {
  const std::size_t image_size = loaded().network.input().size();
  const std::vector<int> weighted = weighted_layers(network_->network);
  variant_pass(network_->network, variant);  // checks it
  const ChangedWeights weights = pack(std::span(&variant, 1))[0];
  const Pass pass = inputs_pass(network_->network);

  workspaces_.resize(thread_count());
  const int wave = thread_count();
  std::vector<std::vector<std::int16_t>> values(std::size_t(wave) * weighted.size());
  for (int first = 0; first < images.count; first += wave) {
    const int count = std::min(wave, images.count - first);
    parallel_for(count, [&](long image, int thread) {
      const Tensors nothing(layers().size());
      Tensors tensors(layers().size());
      run(pass, weights, images.pixels + (first + image) * image_size, 1, workspaces_[thread], nothing, tensors);
      for (std::size_t i = 0; i < weighted.size(); ++i) {
        const int input = layers()[weighted[i]].inputs[0];
        const Shape& shape = layers()[input].output;
        const bool is_signed = network_->formats[input].is_signed;
        const std::uint8_t* bytes = tensors[input].as<std::uint8_t>();
        std::vector<std::int16_t>& to = values[image * weighted.size() + i];
        to.resize(shape.size());
        const std::size_t plane = std::size_t(shape.height) * shape.width;
        for (std::size_t position = 0; position < plane; ++position) {
          for (int c = 0; c < shape.channels; ++c) {
            const std::uint8_t byte = *bytes++;
            to[c * plane + position] = is_signed ? std::int8_t(byte) : byte;
          }
        }
      }
      for (Buffer& tensor : tensors) {
        if (tensor.capacity() > 0) workspaces_[thread].pool.give(std::move(tensor));
      }
    });
    for (int image = 0; image < count; ++image) {
      for (std::size_t i = 0; i < weighted.size(); ++i) {
        observer(first + image, weighted[i], values[image * weighted.size() + i]);
      }
    }
  }
}

/// Computes the layers of `pass` for some images. Inputs that it does not compute come from `reference`. Tensors that
/// still have readers at the end stay in `tensors`, and so does the last layer's.
void CpuBackend::run(Pass pass, const ChangedWeights& weights, const std::uint8_t* pixels, int images,
                     Workspace& workspace, const Tensors& reference, Tensors& tensors) const {
  for (int index = 0; index <= last(); ++index) {
    if (!pass.computes[index]) continue;
    const Layer& layer = layers()[index];
    const std::size_t element = index == last() ? sizeof(float) : 1;
    tensors[index] = workspace.pool.take(images * layer.output.size() * element);
    std::vector<const Buffer*> inputs;
    for (const int input : layer.inputs) inputs.push_back(pass.computes[input] ? &tensors[input] : &reference[input]);
    const LayerPlan& plan = plans_[index];
    const auto changed = weights.find(index);
    const PackedConvolution* const convolution = changed != weights.end() ? changed->second
                                                 : plan.convolution       ? &*plan.convolution
                                                                          : nullptr;
    std::visit(RunLayer{kernels_, *network_, layer, plan.constants, convolution, pixels, inputs, images, workspace,
                        tensors[index].as<void>(), index == last()},
               layer.operation);
    for (const int input : layer.inputs) {
      if (pass.computes[input] && --pass.readers[input] == 0) workspace.pool.give(std::exchange(tensors[input], {}));
    }
  }
}

/// (h, w, c) of every image to (c, h, w).
void CpuBackend::copy_logits(const Buffer& tensor, int images, float* logits) const {
  const Shape& shape = layers().back().output;
  const float* from = tensor.as<float>();
  const std::size_t plane = std::size_t(shape.height) * shape.width;
  for (int image = 0; image < images; ++image) {
    for (std::size_t position = 0; position < plane; ++position) {
      for (int c = 0; c < shape.channels; ++c) logits[c * plane + position] = *from++;
    }
    logits += shape.size();
  }
}

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const std::string& instruction_set) {
  if (instruction_set.empty()) return make_cpu_backend(best_kernels());
  const Kernels* kernels = find_kernels(instruction_set.c_str());
  if (!kernels) {
    throw Error(fmt::format("cannot use the instruction set '{}'", instruction_set),
                "this processor lacks it or no kernels are written for it",
                "choose portable, avx2 or avx512-vnni, or none for the fastest");
  }
  return make_cpu_backend(*kernels);
}

std::unique_ptr<Backend> make_cpu_backend(const Kernels& kernels) { return std::make_unique<CpuBackend>(kernels); }

}  // namespace bitcluster
