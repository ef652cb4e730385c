#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <variant>

#include "cuda/backend.hpp"
#include "cuda/device.hpp"
#include "cuda/device_network.cuh"
#include "cuda/elements.cuh"
#include "cuda/quantize.hpp"
#include "host/base/overloaded.hpp"

namespace bitcluster {
namespace {

/// Part of the free memory that is used; the rest is for fragmentation and for the libraries' own needs.
constexpr double memory_share = 0.85;

/// Images at once: beyond so many a GPU is busy with any network, and progress would become coarse.
constexpr int largest_chunk = 1024;

/// Positions and offsets of kernels are int32, with room for the pixels of a last block that do not exist.
constexpr std::size_t largest_tensor = (std::size_t(1) << 31) - (std::size_t(1) << 26);

/// Chunks of images under way: the copies of one run beside the kernels of the other.
constexpr int slots = 2;

/// Images on their way through the network.
struct Slot {
  Stream stream;
  PinnedArray<std::uint8_t> pixels;
  PinnedArray<float> logits;
  DeviceArray<std::uint8_t> device_pixels;
  const std::uint8_t* source = nullptr;  //!< device_pixels, or part of what is held
  int first_image = 0, images = 0;       //!< under way; none if 0
};

using Changed = std::map<int, std::shared_ptr<const DeviceConvolution>>;  //!< by layer

class CudaBackend final : public Backend {
 public:
  CudaBackend(int device, double share);
  ~CudaBackend() override;

  std::string description() const override { return description_; }
  void load(const IntegerNetwork& network) override;
  bool can_hold() const override { return true; }
  void hold(std::span<const std::uint8_t> pixels) override;
  void evaluate(ImageBatch images, std::span<const Variant> variants, std::span<float> logits) override;
  void observe_inputs(ImageBatch images, const Variant& variant, const InputObserver& observer) override;
  QuantizedWeights quantize(std::span<const float> weights, int filters, const WeightFormat& format,
                            std::span<const float> minimum_scales) override {
    use_device();
    return quantize_on_device(weights, filters, format, minimum_scales);
  }

 private:
  using Tensors = std::vector<Activations>;
  struct CachedWeights {
    std::shared_ptr<const QuantizedWeights> weights;  // kept, so that its address means it
    std::shared_ptr<const DeviceConvolution> convolution;
  };
  using Cache = std::map<std::pair<int, const QuantizedWeights*>, CachedWeights>;

  void use_device() const { check(cudaSetDevice(device_)); }
  /// The loaded one; Error without.
  const DeviceNetwork& loaded() const;
  const std::vector<Layer>& layers() const { return network_->layers(); }

  void reserve(std::size_t bytes, const IntegerNetwork& network, const std::string& what) const;
  std::vector<Changed> pack(std::span<const Variant> variants);
  std::size_t free_memory() const;

  int choose_chunk(int count, std::size_t image_bytes) const;

  void run(const Pass& pass, const Changed& weights, Slot& slot, const Tensors& reference, Tensors& tensors,
           float* logits) const;
  void run_layer(int index, int sum, const DeviceConvolution* changed, const Tensors& tensors, const Tensors& reference,
                 const OutputView& output, Slot& slot) const;
  TensorView view(int layer, const Tensors& tensors, const Tensors& reference) const;
  void start(Slot& slot, ImageBatch images, int first, int count) const;

  int device_;
  std::string description_;
  std::size_t memory_ = 0;  //!< that may be used in all [byte]
  Stream stream_;           //!< of weights and tables
  std::optional<DeviceNetwork> network_;
  Cache cache_;                         //!< changed weights of the last call
  std::span<const std::uint8_t> held_;  //!< pixels of which device_held_ is a copy
  DeviceArray<std::uint8_t> device_held_;
  std::array<Slot, slots> slots_;
};

CudaBackend::CudaBackend(int device, double share) : device_(device) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device));
  description_ = std::string("cuda (") + properties.name + ", device " + std::to_string(device) + ")";
  // freed memory stays with the process: tensors come and go with every chunk
  cudaMemPool_t pool = nullptr;
  check(cudaDeviceGetDefaultMemPool(&pool, device));
  std::uint64_t keep_all = ~std::uint64_t(0);
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep_all));
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total));
  memory_ = std::size_t(double(free) * memory_share * share);
}

CudaBackend::~CudaBackend() {
  // kernels under way may still use what the members free
  cudaSetDevice(device_);
  cudaDeviceSynchronize();
}

const DeviceNetwork& CudaBackend::loaded() const {
  if (!network_) throw Error("cannot evaluate", "no network is loaded", "call load() first");
  return *network_;
}

/// Error where so many bytes are not left.
void CudaBackend::reserve(std::size_t bytes, const IntegerNetwork& network, const std::string& what) const {
  const std::size_t left = free_memory();
  if (bytes <= left) return;
  throw Error("network '" + network.network.name + "' does not fit the GPU",
              what + " " + std::to_string((bytes >> 20) + 1) + " MiB and " + std::to_string(left >> 20) + " MiB of " +
                  description_ + " are left",
              "use a GPU with more free memory, fewer models or assignments at once, or --backend cpu");
}

/// Weights that the call before had as well are on the device already.
std::vector<Changed> CudaBackend::pack(std::span<const Variant> variants) {
  std::set<Cache::key_type> wanted;
  for (const Variant& variant : variants) {
    for (const WeightChange& change : variant) wanted.insert({change.layer, change.weights.get()});
  }
  std::erase_if(cache_, [&](const auto& entry) { return !wanted.count(entry.first); });
  std::size_t bytes = 0;
  for (const auto& key : wanted) {
    const Layer& layer = layers()[key.first];
    if (cache_.count(key)) continue;
    bytes += DeviceConvolution::most_bytes(std::get<Convolution>(layer.operation), layers()[layer.inputs[0]].output);
  }
  reserve(bytes, network_->network(),
          "the changed weights of " + std::to_string(variants.size()) + " assignments take");

  std::vector<Changed> result;
  for (const Variant& variant : variants) {
    Changed changed;
    for (const WeightChange& change : variant) {
      const Cache::key_type key{change.layer, change.weights.get()};
      auto entry = cache_.find(key);
      if (entry == cache_.end()) {
        const auto packed =
            std::make_shared<const DeviceConvolution>(network_->pack(change.layer, *change.weights, stream_));
        entry = cache_.insert({key, {change.weights, packed}}).first;
      }
      changed[change.layer] = entry->second.convolution;
    }
    result.push_back(std::move(changed));
  }
  return result;
}

/// For activations and images.
std::size_t CudaBackend::free_memory() const {
  std::size_t taken = (network_ ? network_->bytes() : 0) + device_held_.size();
  for (const auto& [key, entry] : cache_) taken += entry.convolution->bytes();
  return memory_ - std::min(memory_, taken);
}

void CudaBackend::load(const IntegerNetwork& network) {
  use_device();
  check(cudaDeviceSynchronize());
  cache_.clear();
  network_.reset();
  DeviceNetwork loading(network);
  reserve(loading.bytes(), network, "its weights take");
  loading.upload(stream_);
  network_ = std::move(loading);
}

int CudaBackend::choose_chunk(int count, std::size_t image_bytes) const {
  std::size_t largest = 1;
  for (int index = 0; index <= network_->last(); ++index) largest = std::max(largest, network_->tensor_bytes(index));
  const std::size_t available = free_memory() / slots;
  reserve(slots * image_bytes, network_->network(), "two images at once take");
  if (largest > largest_tensor) {
    throw Error("network '" + network_->network().network.name + "' cannot be evaluated on a GPU",
                "a tensor of one image takes more than " + std::to_string(largest_tensor >> 20) + " MiB",
                "use --backend cpu");
  }
  const std::size_t fits = std::min(available / image_bytes, largest_tensor / largest);
  const int share = (count + slots - 1) / slots;  // so that both slots have work
  return std::max(1, std::min({int(std::min<std::size_t>(fits, largest_chunk)), share}));
}

TensorView CudaBackend::view(int layer, const Tensors& tensors, const Tensors& reference) const {
  const Shape& shape = layers()[layer].output;
  const Activations& tensor = tensors[layer].data() ? tensors[layer] : reference[layer];
  return {tensor.data(),
          shape.height,
          shape.width,
          shape.channels,
          pixel_stride(shape.channels),
          network_->network().formats[layer].is_signed};
}

/// Computes the layers of `pass` for the slot's images. Inputs that it does not compute come from `reference`. Tensors
/// that still have readers at the end stay in `tensors`; the last layer's values go to `logits` (images, classes).
void CudaBackend::run(const Pass& pass, const Changed& weights, Slot& slot, const Tensors& reference, Tensors& tensors,
                      float* logits) const {
  std::vector<int> readers = pass.readers;
  const auto release = [&](int layer) {
    for (const int input : layers()[layer].inputs) {
      if (pass.computes[input] && --readers[input] == 0) tensors[input] = {};
    }
  };
  network_->walk(pass, [&](int index, int convolution) {
    const Shape& shape = layers()[index].output;
    OutputView output{logits,
                      slot.images,
                      shape.height,
                      shape.width,
                      shape.channels,
                      pixel_stride(shape.channels),
                      network_->plan(index).constants.range,
                      index == network_->last()};
    if (!output.real) {
      tensors[index] = Activations(slot.images * network_->tensor_bytes(index), slot.stream);
      output.values = tensors[index].data();
    }
    const int weighted = convolution >= 0 ? convolution : index;
    const auto changed = weights.find(weighted);
    run_layer(weighted, convolution >= 0 ? index : -1, changed == weights.end() ? nullptr : changed->second.get(),
              tensors, reference, output, slot);
    if (convolution >= 0) release(convolution);
    release(index);
  });
}

/// `sum`: the Add that a convolution does as well, or -1.
void CudaBackend::run_layer(int index, int sum, const DeviceConvolution* changed, const Tensors& tensors,
                            const Tensors& reference, const OutputView& output, Slot& slot) const {
  const Layer& layer = layers()[index];
  const DeviceLayerPlan& plan = network_->plan(index);
  const LayerConstants& constants = plan.constants;
  const Stream& stream = slot.stream;
  const auto input = [&](std::size_t i) { return view(layer.inputs[i], tensors, reference); };

  const auto convolve = [&] {
    const DeviceConvolution& convolution = changed ? *changed : *plan.convolution;
    FusedAdd add;
    if (sum >= 0) {
      const std::vector<int>& operands = layers()[sum].inputs;
      const int own = operands[0] == index ? 0 : 1;
      const std::vector<float>& multipliers = network_->plan(sum).constants.multipliers;
      add = {view(operands[1 - own], tensors, reference), multipliers[own], multipliers[1 - own], constants.range};
    }
    convolution.run(input(0), output, sum >= 0 ? &add : nullptr, stream);
  };
  const auto concatenate = [&] {
    int first = 0;
    for (std::size_t i = 0; i < layer.inputs.size(); ++i) {
      rescale_into(input(i), constants.multipliers[i], first, output, stream);
      first += layers()[layer.inputs[i]].output.channels;
    }
  };
  std::visit(
      overloaded{
          [&](const Input&) { read_images(slot.source, network_->input_table(), output, stream); },
          [&](const Convolution&) { convolve(); },
          [&](const Pool& pool) {
            if (pool.kind == Pool::Kind::average) {
              pool_average(input(0), pool.window, plan.table.data(), output, stream);
            } else {
              pool_maximum(input(0), pool.window, constants.multipliers[0], output, stream);
            }
          },
          [&](const Add&) {
            add(input(0), constants.multipliers[0], input(1), constants.multipliers[1], output, stream);
          },
          [&](const Multiply&) { multiply(input(0), input(1), constants.multipliers[0], output, stream); },
          [&](const Concat&) { concatenate(); },
          [&](const OneOf<Rearrange, Function> auto&) {
            look_up(input(0), plan.table.data(), plan.source.data(), output, stream);
          },
          [&](const LocalResponseNorm& norm) { normalize(input(0), norm.size, plan.table.data(), output, stream); }},
      layer.operation);
}

void CudaBackend::hold(std::span<const std::uint8_t> pixels) {
  use_device();
  held_ = {};
  device_held_ = {};
  // activations need far more than images
  if (pixels.empty() || pixels.size() > free_memory() / 4) return;
  device_held_ = DeviceArray<std::uint8_t>(pixels.data(), pixels.size(), stream_);
  stream_.wait();
  held_ = pixels;
}

/// Copies images to the device, which goes on beside the host.
void CudaBackend::start(Slot& slot, ImageBatch images, int first, int count) const {
  const std::size_t image_size = network_->network().network.input().size(), bytes = count * image_size;
  slot.first_image = first;
  slot.images = count;
  const std::uint8_t* const pixels = images.pixels + first * image_size;
  if (!held_.empty() && pixels >= held_.data() && pixels + bytes <= held_.data() + held_.size()) {
    slot.source = device_held_.data() + (pixels - held_.data());
    return;
  }
  if (slot.pixels.size() < bytes) slot.pixels = PinnedArray<std::uint8_t>(bytes);
  if (slot.device_pixels.size() < bytes) slot.device_pixels = DeviceArray<std::uint8_t>(bytes, slot.stream);
  std::memcpy(slot.pixels.data(), pixels, bytes);
  check(cudaMemcpyAsync(slot.device_pixels.data(), slot.pixels.data(), bytes, cudaMemcpyHostToDevice, slot.stream));
  slot.source = slot.device_pixels.data();
}

void CudaBackend::evaluate(ImageBatch images, std::span<const Variant> variants, std::span<float> logits) {
  const DeviceNetwork& device_network = loaded();
  const Network& network = device_network.network().network;
  const std::size_t classes = network.classes();
  if (images.count < 0 || logits.size() != variants.size() * images.count * classes) {
    throw Error("cannot evaluate " + std::to_string(images.count) + " images",
                "the place for logits has " + std::to_string(logits.size()) + " values",
                "give (variants, count, classes)");
  }
  if (logits.empty()) return;
  use_device();
  std::vector<Pass> passes;
  for (const Variant& variant : variants) passes.push_back(variant_pass(network, variant));
  const Pass shared_pass = reference_pass(network, passes);
  const std::vector<Changed> weights = pack(variants);
  stream_.wait();

  std::size_t largest_variant = 0;
  for (const Pass& pass : passes) largest_variant = std::max(largest_variant, device_network.peak_bytes(pass));
  const std::size_t image_bytes = device_network.peak_bytes(shared_pass) + largest_variant + network.input().size() +
                                  (1 + variants.size()) * classes * sizeof(float);
  const int chunk = choose_chunk(images.count, image_bytes);
  for (Slot& slot : slots_) slot.images = 0;  // of a call that failed

  const auto finish = [&](Slot& slot) {
    slot.stream.wait();
    for (std::size_t variant = 0; variant < variants.size() && slot.images > 0; ++variant) {
      std::memcpy(logits.data() + (variant * images.count + slot.first_image) * classes,
                  slot.logits.data() + variant * slot.images * classes, slot.images * classes * sizeof(float));
    }
    slot.images = 0;
  };
  for (int first = 0, number = 0; first < images.count; first += chunk, ++number) {
    Slot& slot = slots_[number % slots];
    finish(slot);
    start(slot, images, first, std::min(chunk, images.count - first));
    const std::size_t count = slot.images * classes;
    const DeviceArray<float> results(variants.size() * count, slot.stream);
    const Tensors nothing(layers().size());
    Tensors reference(layers().size());
    DeviceArray<float> reference_logits(count, slot.stream);
    run(shared_pass, {}, slot, nothing, reference, reference_logits.data());
    for (std::size_t variant = 0; variant < variants.size(); ++variant) {
      float* const to = results.data() + variant * count;
      if (passes[variant].computes[device_network.last()]) {
        Tensors tensors(layers().size());
        run(passes[variant], weights[variant], slot, reference, tensors, to);
      } else {
        check(
            cudaMemcpyAsync(to, reference_logits.data(), count * sizeof(float), cudaMemcpyDeviceToDevice, slot.stream));
      }
    }
    if (slot.logits.size() < results.size()) slot.logits = PinnedArray<float>(results.size());
    check(cudaMemcpyAsync(slot.logits.data(), results.data(), results.size() * sizeof(float), cudaMemcpyDeviceToHost,
                          slot.stream));
  }
  for (Slot& slot : slots_) finish(slot);
}

void CudaBackend::observe_inputs(ImageBatch images, const Variant& variant, const InputObserver& observer) {
  const DeviceNetwork& device_network = loaded();
  const Network& network = device_network.network().network;
  use_device();
  const std::vector<int> weighted = weighted_layers(network);
  variant_pass(network, variant);  // checks it
  const Changed weights = pack(std::span(&variant, 1))[0];
  stream_.wait();
  const Pass pass = inputs_pass(network);

  std::size_t values = 0;  // of one image, all layers
  std::vector<std::size_t> starts;
  for (const int layer : weighted) {
    starts.push_back(values);
    values += layers()[layers()[layer].inputs[0]].output.size();
  }
  // twice the values: here and in the pinned copy, which should not be larger
  const int chunk = choose_chunk(
      images.count, device_network.peak_bytes(pass) + 2 * values * sizeof(std::int16_t) + network.input().size());
  Slot& slot = slots_[0];
  for (int first = 0; first < images.count; first += chunk) {
    start(slot, images, first, std::min(chunk, images.count - first));
    const Tensors nothing(layers().size());
    Tensors tensors(layers().size());
    run(pass, weights, slot, nothing, tensors, nullptr);
    const DeviceArray<std::int16_t> exported(slot.images * values, slot.stream);
    const PinnedArray<std::int16_t> pinned(exported.size());
    for (std::size_t i = 0; i < weighted.size(); ++i) {
      export_values(view(layers()[weighted[i]].inputs[0], tensors, nothing), slot.images,
                    exported.data() + slot.images * starts[i], slot.stream);
    }
    check(cudaMemcpyAsync(pinned.data(), exported.data(), exported.size() * sizeof(std::int16_t),
                          cudaMemcpyDeviceToHost, slot.stream));
    slot.stream.wait();
    const int count = std::exchange(slot.images, 0);
    for (int image = 0; image < count; ++image) {
      for (std::size_t i = 0; i < weighted.size(); ++i) {
        const std::size_t size = layers()[layers()[weighted[i]].inputs[0]].output.size();
        observer(first + image, weighted[i], {pinned.data() + count * starts[i] + image * size, size});
      }
    }
  }
}

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(int device, double share) {
  const DeviceReport report = find_devices();
  if (device < 0 || device >= int(report.devices.size())) {
    throw Error("GPU " + std::to_string(device) + " cannot be used",
                report.devices.empty() ? report.reason
                                       : "this process sees " + std::to_string(report.devices.size()) + " of them",
                "use --backend cpu, or a machine with a GPU");
  }
  check(cudaSetDevice(device));
  return std::make_unique<CudaBackend>(device, share);
}

}  // namespace bitcluster
