#include "harness/plan/measure.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "harness/ranks/progress.hpp"
#include "harness/ranks/shared_preparation.hpp"
#include "host/base/parallel.hpp"
#include "host/cpu/calibrate.hpp"
#include "host/cpu/float_network.hpp"
#include "host/data/dataset.hpp"
#include "host/emulation/design.hpp"
#include "host/emulation/emulator.hpp"
#include "host/files/content_hash.hpp"

namespace bitcluster {

using Clock = std::chrono::steady_clock;

double seconds_of(const std::function<void()>& action, const Ranks* together, int fewest) {
  constexpr double enough = 0.3;  // [s]
  double least = std::numeric_limits<double>::infinity(), spent = 0;
  for (int call = 0; call < fewest || spent < enough; ++call) {
    const Clock::time_point start = Clock::now();
    action();
    double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (together) together->largest(std::span(&seconds, 1));
    least = std::min(least, seconds);
    spent += seconds;
  }
  return least;
}

namespace {

/// From two calls.
Line line_through(int few, int many, const std::function<void(int)>& action, const Ranks* together = nullptr) {
  action(many);  // memory that later calls find
  const double at_few = seconds_of([&] { action(few); }, together);
  if (many == few) return {0, at_few / few};
  const double at_many = seconds_of([&] { action(many); }, together);
  const double each = std::max(0.0, (at_many - at_few) / (many - few));
  return {std::max(0.0, at_few - each * few), each};
}

/// The measurements of one model, one stage after the other.
class Measurement {
 public:
  Measurement(const Ranks& ranks, const SharedInputs& inputs, const Devices& devices, const Config& config,
              const Config::Model& model)
      : ranks_(ranks),
        inputs_(inputs),
        backend_(*devices.backends[0]),
        step_counter_(devices.step_counter.get()),
        config_(config),
        model_(model),
        data_(Dataset::load(model.data)),
        table_(data_.input_table()),
        quantizer_(quantizer_of(backend_)) {
    costs_.name = model.name;
    costs_.data = model.data;
  }

  void import() {
    // more than once: the first call gets memory that a virtual machine has to be given first
    costs_.import = seconds_of([&] { network_ = inputs_.network(model_.onnx); }, &ranks_, 2);
    network_.name = model_.name;
    layers_ = weighted_layers(network_);
    for (const int layer : layers_) {
      costs_.layers.push_back(network_.layers[layer].name);
      costs_.products.push_back(double(multiply_accumulates(network_, layer)));
    }
    costs_.image_bytes = double(network_.input().size());
    const auto count_of = [&](const std::string& split, int limit) {
      return limit > 0 ? limit : inputs_.images(data_, split, 0, network_)->count;
    };
    costs_.calibration_images = count_of(config_.calibration.split, config_.calibration.images);
    costs_.search_images = count_of(config_.search.split, config_.search.images);
    costs_.validation_images = config_.search.validation_images(costs_.search_images);
    costs_.test_images = count_of(config_.search.test_split, config_.search.test_images);
    costs_.emulated_images = count_of(config_.emulation.split, config_.emulation.images);
  }

  /// A chunk of images for every thread; see choose_chunk() of the CPU backend.
  void read_images() {
    const int wanted = 16 * thread_count();
    const int available = inputs_.images(data_, config_.search.split, 16 * wanted, network_)->count;
    costs_.shared_reading = data_.reads_anywhere();
    costs_.holds = backend_.can_hold();
    costs_.read = line_through(
        1, std::max(2, available),
        [&](int n) {
          const auto read = inputs_.images(data_, config_.search.split, n, network_, std::uint64_t(config_.seed));
          read->pixels(0, read->count);
        },
        &ranks_);
    images_ = inputs_.images(data_, config_.search.split, wanted, network_);
    const std::span<const std::uint8_t> bytes = images_->pixels(0, images_->count);
    costs_.keys = seconds_of([&] { KeyBuilder().add(bytes).key(); }) / double(bytes.size());
  }

  void run_in_float() {
    const int threads = thread_count(), count = images_->count;
    const std::vector<float> pixels = preprocess(*images_, table_, 0, count);
    const auto some = [&](int n) { return std::span(pixels).first(n * network_.input().size()); };
    const int few = std::max(1, std::min(threads, count / 2));
    const auto calibrate_on = [&](int n) {
      calibration_ = calibrate(network_, some(n), n, config_.calibration.method, config_.calibration.percentile);
    };
    constexpr double enough = 0.5;  // [s]; with two images what they cost is lost in the noise
    const double wanted_images = enough / seconds_of([&] { calibrate_on(few); }) * few;
    const int many = std::min(count, std::max(2 * few, int(std::min(wanted_images, double(count)))));
    costs_.calibrate = line_through(few, many, calibrate_on);
    std::optional<FloatNetwork> prepared;
    costs_.run_float.fixed = seconds_of([&] { prepared.emplace(network_); });
    const int in_float = std::min(4 * threads, count);  // as many as share a reading of the weights on every thread
    costs_.run_float.each = seconds_of([&] { prepared->run(some(in_float), in_float); }) / in_float;
  }

  void quantize() {
    costs_.quantize_reference =
        seconds_of([&] { integer_ = make_integer(network_, calibration_, config_.reference, table_, quantizer_); });
    int largest = layers_[0];
    for (const int layer : layers_) {
      const std::size_t size = integer_.weights[layer].values.size();
      costs_.weights += double(size);
      if (size < fewest_shared_weights) costs_.small_weights += double(size);
      if (size > integer_.weights[largest].values.size()) largest = layer;
    }
    costs_.small_weights /= costs_.weights;
    // formats differ, filters of one length hardly: a part of the largest layer stands for all
    const auto& convolution = std::get<Convolution>(network_.layers[largest].operation);
    const std::size_t length = convolution.weights.size() / convolution.filters;
    const int filters = std::clamp(int((std::size_t(1) << 19) / length), 1, convolution.filters);
    const std::span part = std::span(convolution.weights).first(filters * length);
    for (const Config::Candidates& candidates : config_.search.candidates) {
      for (const WeightFormat& format : candidates.formats) {
        if (format.rounding == Rounding::compensated) continue;
        costs_.quantize_candidates +=
            seconds_of([&] { quantizer_(part, filters, format, {}); }) / double(part.size()) * costs_.weights;
      }
    }
  }

  /// Of compensated rounding. A filter takes in proportion to the square of its length.
  void compensate() {
    std::vector<WeightFormat> formats;
    for (const Config::Candidates& candidates : config_.search.candidates) {
      std::ranges::copy_if(candidates.formats, std::back_inserter(formats),
                           [](const WeightFormat& format) { return format.rounding == Rounding::compensated; });
    }
    if (formats.empty()) return;
    backend_.load(integer_);
    double work = 0, timed_work = 0, seconds = 0;
    const auto work_of = [&](int layer) {
      const auto& convolution = std::get<Convolution>(network_.layers[layer].operation);
      const double size = double(convolution.weights.size());
      return size * size / convolution.filters;
    };
    for (const int layer : layers_) work += work_of(layer);
    const auto observe = [&](int images, const std::function<void(int, const Quantizer&)>& prepare) {
      compensate_layers(ranks_, backend_, integer_, images_->part("measured", 0, images), quantizer_, prepare);
    };
    int index = 0;
    const int step = std::max(1, int(layers_.size()) / 6);  // some layers stand for all
    observe(1, [&](int layer, const Quantizer& compensated) {
      if (index++ % step != step / 2) return;
      const Clock::time_point start = Clock::now();
      quantize_layer(integer_, layer, formats[formats.size() / 2], compensated);
      seconds += std::chrono::duration<double>(Clock::now() - start).count();
      timed_work += work_of(layer);
    });
    costs_.compensate_candidates = seconds / timed_work * work * double(formats.size());
    costs_.gram = line_through(
        1, std::min(images_->count, 4 * thread_count()),
        [&](int images) { observe(images, [](int, const Quantizer&) {}); }, &ranks_);
  }

  void evaluate() {
    // layers changed to weights of the same kind: what they are does not change the time
    Variant everything, everything_again;
    for (const int layer : layers_) {
      everything.push_back(changed(layer));
      everything_again.push_back(changed(layer));
    }
    backend_.load(integer_);
    const int count = images_->count;
    evaluate({everything}, count);
    const double whole = seconds_of([&] { evaluate({{}}, count); }) / count;
    // weights of the call before are prepared already, so in turn
    const auto prepare = [&] {
      std::swap(everything, everything_again);
      evaluate({everything}, 0);
    };
    const double pack = seconds_of(prepare, nullptr, 3);
    costs_.in_float = float_cost(network_);
    costs_.reference = {variant_cost(network_, {}), {0, whole}, 0};
    costs_.everything = {variant_cost(network_, everything), {whole, 0}, pack};
    const std::map<double, double> suffix = time_of_suffixes(whole);
    const auto seconds_for = [&](double products) {
      const auto above = suffix.lower_bound(products);
      if (above == suffix.end()) return whole;
      if (above == suffix.begin()) return 0.0;
      const auto below = std::prev(above);
      return below->second +
             (above->second - below->second) * (products - below->first) / (above->first - below->first);
    };
    const double of_reference = costs_.reference.products.shared;
    for (const int layer : layers_) {
      const VariantCost products = variant_cost(network_, {changed(layer)});
      costs_.alone.push_back({products,
                              {seconds_for(products.own), whole - seconds_for(of_reference - products.shared)},
                              pack * double(integer_.weights[layer].values.size()) / costs_.weights});
    }
  }

  void emulate(const std::vector<Accelerator>& accelerators) {
    std::vector<std::vector<std::int16_t>> activations;
    const std::uint8_t* const bytes = images_->pixels(0, images_->count).data();
    costs_.observe = seconds_of([&] {
      activations.clear();
      backend_.observe_inputs({bytes, 1}, {}, [&](int, int, std::span<const std::int16_t> values) {
        activations.emplace_back(values.begin(), values.end());
      });
    });
    for (const Accelerator& accelerator : accelerators) {
      // some layers stand for all, by products
      double seconds = 0, products = 0;
      const int step = std::max(1, int(layers_.size()) / 6);
      for (int i = step / 2; i < int(layers_.size()); i += step) {
        const QuantizedWeights weights = weights_for(accelerator, layers_[i]);
        const int input = network_.layers[layers_[i]].inputs[0];
        const LayerTensors tensors =
            measured_part({layer_geometry(network_, layers_[i]), weights.values, weights.format, activations[i], 8,
                           integer_.formats[input].is_signed});
        const Clock::time_point start = Clock::now();
        bitcluster::emulate(accelerator, tensors, step_counter_);
        seconds += std::chrono::duration<double>(Clock::now() - start).count();
        products += costs_.products[i] * double(tensors.weights.size()) / double(weights.values.size());
      }
      costs_.emulate[accelerator.name] = seconds / std::max(1.0, products);
    }
  }

  ModelCosts costs() && { return std::move(costs_); }

 private:
  WeightChange changed(int layer) const {
    return {layer, std::make_shared<const QuantizedWeights>(integer_.weights[layer])};
  }

  void evaluate(const std::vector<Variant>& variants, int count) {
    std::vector<float> logits(variants.size() * count * network_.classes());
    backend_.evaluate({images_->pixels(0, images_->count).data(), count}, variants, logits);
  }

  /// Time of what follows from a layer on, by its products: measured at some layers, straight in between.
  std::map<double, double> time_of_suffixes(double whole) {
    std::map<double, double> suffix = {{0, 0}, {costs_.reference.products.shared, whole}};
    constexpr int measured_layers = 4;
    for (int i = 1; i <= measured_layers; ++i) {
      const Variant alone = {changed(layers_[(layers_.size() - 1) * i / measured_layers])};
      const double once = seconds_of([&] { evaluate({alone}, images_->count); });
      const double thrice = seconds_of([&] { evaluate({alone, alone, alone}, images_->count); });
      suffix[variant_cost(network_, alone).own] = std::clamp((thrice - once) / 2 / images_->count, 0.0, whole);
    }
    return suffix;
  }

  /// Those that the design runs: the last candidate where it runs no plain ones.
  QuantizedWeights weights_for(const Accelerator& accelerator, int layer) {
    for (const Config::Candidates& candidates : config_.search.candidates) {
      const Preparation& preparation = *candidates.preparation;
      if (preparation.exclusive && preparation.design == accelerator.design->name) {
        WeightFormat format = candidates.formats.back();
        format.rounding = Rounding::nearest;  // takes as long to emulate
        return quantize_layer(integer_, layer, format, quantizer_);
      }
    }
    return integer_.weights[layer];
  }

  const Ranks& ranks_;
  const SharedInputs& inputs_;
  Backend& backend_;
  StepCounter* step_counter_;
  const Config& config_;
  const Config::Model& model_;
  const Dataset data_;
  const std::vector<float> table_;
  const Quantizer quantizer_;

  ModelCosts costs_;
  Network network_;
  std::vector<int> layers_;
  std::shared_ptr<const Images> images_;
  Calibration calibration_;
  IntegerNetwork integer_;
};

}  // namespace

LayerTensors measured_part(LayerTensors layer) {
  constexpr std::size_t most_weights = std::size_t(1) << 23;
  if (layer.weights.size() <= most_weights || layer.geometry.groups != 1) return layer;
  const std::size_t filter_size = layer.weights.size() / layer.geometry.filters;
  layer.geometry.filters = int(std::max<std::size_t>(1, most_weights / filter_size));
  layer.geometry.output.channels = layer.geometry.filters;
  layer.weights = layer.weights.first(layer.geometry.filters * filter_size);
  return layer;
}

ModelCosts measure(const Ranks& ranks, const SharedInputs& inputs, const Devices& devices, const Config& config,
                   const Config::Model& model, const std::vector<Accelerator>& accelerators) {
  Progress progress(ranks.root(), model.name + ": measure", 6);
  Measurement measurement(ranks, inputs, devices, config, model);
  measurement.import();
  measurement.read_images();
  progress.update(1);
  measurement.run_in_float();
  progress.update(2);
  measurement.quantize();
  measurement.compensate();
  progress.update(3);
  measurement.evaluate();
  progress.update(4);
  measurement.emulate(accelerators);
  progress.update(6);
  return std::move(measurement).costs();
}

}  // namespace bitcluster
