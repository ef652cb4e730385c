#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <string>

#include "harness/program/commands.hpp"
#include "harness/program/input_files.hpp"
#include "harness/program/results_output.hpp"
#include "harness/ranks/devices.hpp"
#include "harness/ranks/progress.hpp"
#include "harness/ranks/shared_inputs.hpp"
#include "harness/ranks/shared_preparation.hpp"
#include "harness/scoring/evaluator.hpp"
#include "harness/study/config.hpp"
#include "host/base/error.hpp"
#include "host/base/printable.hpp"
#include "host/data/assignment_file.hpp"
#include "host/inference/label_order.hpp"
#include "host/weights/preparation.hpp"

namespace bitcluster {
namespace {

void check(const EvaluateOptions& options) {
  if (options.weights == "bitcluster" && options.format.terms == 0) {
    throw Error("--weights bitcluster", "the number of terms is missing", "add --terms N");
  }
  if (options.percentile && options.calibration != "percentile") {
    throw Error("--percentile has no effect", "activation scales are chosen by " + options.calibration,
                "add --calibration percentile, or leave it out");
  }
}

/// A network on the integer grid, which the backend has loaded, with the weights that are asked for.
struct Evaluated {
  std::shared_ptr<const IntegerNetwork> network;
  Variant variant;
  MeanTerms terms = {};
};

/// The formats of the layers with weights.
std::vector<WeightFormat> formats_of(const Ranks& ranks, const Network& network, const EvaluateOptions& options,
                                     const WeightFormat& reference) {
  const std::vector<int> layers = weighted_layers(network);
  WeightFormat format = options.format;
  if (options.weights == "bitcluster") format.preparation = &bitcluster_weights;
  std::vector<WeightFormat> formats(layers.size(), format);
  if (options.assignment.empty()) return formats;
  std::vector<std::string> names;
  for (const int layer : layers) names.push_back(network.layers[layer].name);
  ranks.on_all([&] { formats = load_assignment(options.assignment, names, reference); });
  return formats;
}

Evaluated quantized(const Ranks& ranks, const SharedInputs& inputs, const Dataset& data, const Network& network,
                    Backend& backend, const EvaluateOptions& options) {
  if (ranks.root() && data.overlap(options.calibration_split, options.split)) {
    fmt::print(stderr,
               "bitcluster: warning: split '{}' shares images with '{}', which chooses the activation scales: this "
               "accuracy is not an independent measurement\n",
               options.split, options.calibration_split);
  }
  inputs.check(data, options.calibration_split, 0, network);
  const std::vector<float> input_table = data.input_table();
  const auto seen = inputs.images(data, options.calibration_split, 0, network);
  const double usual_percentile = Config::CalibrationOptions().percentile;
  const Calibration calibration =
      calibrate(ranks, network, *seen, input_table, calibration_method_from_string(options.calibration),
                options.percentile.value_or(usual_percentile));
  WeightFormat reference;
  reference.bits = options.format.bits;
  const Quantizer quantizer = quantizer_of(backend);
  Evaluated result;
  result.network =
      std::make_shared<const IntegerNetwork>(make_integer(network, calibration, reference, input_table, quantizer));
  backend.load(*result.network);
  const std::vector<int> weighted = weighted_layers(network);
  const std::vector<WeightFormat> formats = formats_of(ranks, network, options, reference);
  const auto format_of = [&](int layer) { return formats[std::ranges::find(weighted, layer) - weighted.begin()]; };
  const auto prepare = [&](int layer, const Quantizer& compensated) {
    const WeightFormat format = format_of(layer);
    if (format == reference) return;
    result.variant.push_back(
        {layer, std::make_shared<const QuantizedWeights>(quantize_layer(
                    *result.network, layer, format, format.rounding == Rounding::nearest ? quantizer : compensated))});
  };
  if (std::ranges::find(formats, Rounding::compensated, &WeightFormat::rounding) != formats.end()) {
    double done = 0;
    Progress progress(ranks.root(), network.name + ": round with compensation", double(weighted.size()));
    compensate_layers(ranks, backend, *result.network, *seen, quantizer, [&](int layer, const Quantizer& compensated) {
      prepare(layer, compensated);
      progress.update(++done);
    });
  } else {
    for (const int layer : weighted) prepare(layer, quantizer);
  }
  std::vector<const QuantizedWeights*> used;
  for (const int layer : weighted) {
    const auto changed = std::ranges::find(result.variant, layer, &WeightChange::layer);
    used.push_back(changed == result.variant.end() ? &result.network->weights[layer] : changed->weights.get());
  }
  result.terms = mean_terms(network, used);
  return result;
}

void print(const EvaluationRow& row, const EvaluateOptions& options) {
  fmt::print("{}, {} weights", printable(row.model), options.weights);
  if (!options.assignment.empty()) {
    fmt::print(" ({}: {:.3f} terms per weight, {:.3f} per product)", printable(row.assignment), row.terms_mean,
               row.terms_per_product);
  } else if (options.weights != "float") {
    fmt::print(" ({:.3f} {} terms each, rounded {})", row.terms_mean, row.encoding, row.rounding);
  }
  fmt::print(", split {}, {} images: top-1 {:.2f} %, top-5 {:.2f} %, cross entropy {:.4f} nat, {:.1f} images/s\n",
             options.split, row.images, 100 * row.top1, 100 * row.top5, row.cross_entropy,
             double(row.images) / row.seconds);
  if (std::isfinite(row.loss)) {
    fmt::print("loss of top-1 against float, same images: {:.2f} [{:.2f}, {:.2f}] %\n", 100 * row.loss,
               100 * row.loss_low, 100 * row.loss_high);
  }
}

}  // namespace

void evaluate(const Ranks& ranks, const EvaluateOptions& options) {
  check(options);
  const Devices devices = make_devices(ranks, options.backend);
  const SharedInputs inputs(ranks, devices.gpus.get());
  InputFiles files(ranks);
  files.add_model(options.model);
  std::set<std::string> splits = {options.split};
  if (options.weights != "float") splits.insert(options.calibration_split);
  files.add_data(options.data, splits);
  if (!options.assignment.empty()) files.add("assignment", options.assignment);
  const Network network = inputs.network(options.model);
  const Dataset data = Dataset::load(options.data);
  inputs.check(data, options.split, options.images, network);
  const std::vector<float> input_table = data.input_table();
  const auto images = inputs.images(data, options.split, options.images, network);
  Backend& backend = *devices.backends[0];
  Results results = start_results(ranks, options.output, backend.description());
  results.inputs = files.rows();
  Evaluator evaluator(ranks, nullptr);

  std::vector<ImageScore> scores, baseline;
  EvaluationRow row{.model = network.name,
                    .assignment = options.assignment.empty() ? options.weights : assignment_name(options.assignment),
                    .weights = options.weights,
                    .encoding = "",
                    .rounding = "",
                    .split = options.split};
  if (ranks.size() == 1) images->pixels(0, images->count);  // not to be timed
  const std::string label = network.name + ": " + options.weights + ", " + options.split + " split";
  const auto timed = [&](const ScoringWork& work) {
    const auto start = std::chrono::steady_clock::now();
    ScoringResult result = evaluator.work_on(work, label);
    row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
  };
  if (options.weights == "float") {
    scores = timed({.floats = {{network, images, input_table}}}).floats[0];
  } else {
    const Evaluated quantized = bitcluster::quantized(ranks, inputs, data, network, backend, options);
    row.terms_mean = quantized.terms.per_weight;
    row.terms_per_product = quantized.terms.per_product;
    if (options.assignment.empty()) {
      row.encoding = to_string(options.format.encoding);
      row.rounding = to_string(options.format.rounding);
    }
    baseline = evaluator
                   .work_on({.floats = {{network, images, input_table}}},
                            network.name + ": float, " + options.split + " split")
                   .floats[0];
    scores = timed({.requests = {{backend, quantized.network, images, {quantized.variant}}}}).scores[0][0];
  }
  const Accuracy accuracy = summarize(scores);
  if (!baseline.empty()) {
    const PairedLoss loss = paired_loss(baseline, scores);
    row.loss = loss.loss;
    row.loss_low = loss.low;
    row.loss_high = loss.high;
  }
  row.images = accuracy.images;
  row.top1 = accuracy.top1;
  row.top5 = accuracy.top5;
  row.cross_entropy = accuracy.cross_entropy;
  results.evaluations.push_back(row);
  files.check_unchanged();
  finish_results(ranks, options.output, results);
  if (!ranks.root()) return;
  if (const std::string doubt = label_order_doubt(scores, images->labels, network.classes()); !doubt.empty()) {
    fmt::print(stderr, "bitcluster: warning: {}, split '{}': {}\n", printable(network.name), options.split, doubt);
  }
  print(row, options);
}

}  // namespace bitcluster
