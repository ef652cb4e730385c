#include "harness/study.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <tuple>

#include "harness/keys.hpp"
#include "harness/progress.hpp"
#include "harness/sharing.hpp"
#include "host/error.hpp"

namespace bitcluster {
namespace {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

double cost_of(const LayerEmulation& emulation, const std::string& minimise) {
  if (minimise == "energy") return emulation.energy.total();
  // the product is taken layer by layer so that costs stay additive
  if (minimise == "energy_delay") return emulation.energy.total() * double(emulation.cycles);
  return double(emulation.cycles);
}

/// The first accelerator of a design, null without any.
const Accelerator* find_design(const std::vector<Accelerator>& accelerators, Design design) {
  const auto found = std::find_if(accelerators.begin(), accelerators.end(),
                                  [&](const Accelerator& accelerator) { return accelerator.design == design; });
  return found == accelerators.end() ? nullptr : &*found;
}

constexpr const char* bitpruner = "BitPruner";

std::string method_of(const WeightFormat& format) { return format.pruned ? "bitpruner" : "bitcluster"; }

}  // namespace

void add_layers(const std::string& model, const Network& network, Results& results, const Quantizer& quantizer) {
  for (const int index : weighted_layers(network)) {
    const auto& convolution = std::get<Convolution>(network.layers[index].operation);
    const LayerGeometry geometry = layer_geometry(network, index);
    const QuantizedWeights plain = quantizer(convolution.weights, convolution.filters, {}, {});
    double terms[2] = {0, 0};
    for (const int value : plain.values) {
      terms[0] += count_terms(Encoding::binary, std::abs(value));
      terms[1] += count_terms(Encoding::signed_digit, std::abs(value));
    }
    const Window& window = convolution.window;
    results.layers.add(
        {model, geometry.name, std::int64_t(index), std::string(geometry.fully_connected ? "fc" : "conv"),
         std::int64_t(geometry.filters), std::int64_t(geometry.input.channels), std::int64_t(geometry.groups),
         std::int64_t(window.kernel_h), std::int64_t(window.kernel_w), std::int64_t(window.stride_h),
         std::int64_t(window.stride_w), std::int64_t(geometry.output.height), std::int64_t(geometry.output.width),
         std::int64_t(convolution.weights.size()), multiply_accumulates(network, index),
         terms[0] / double(plain.values.size()), terms[1] / double(plain.values.size())});
  }
}

void add_accelerators(const std::string& basis, const std::vector<Accelerator>& accelerators, Results& results) {
  for (const Accelerator& accelerator : accelerators) {
    results.accelerators.add({basis, accelerator.name, to_string(accelerator.design), std::int64_t(accelerator.lanes),
                              std::int64_t(accelerator.rows), std::int64_t(accelerator.columns),
                              std::int64_t(accelerator.tiles), accelerator.slots_per_cycle(), accelerator.clock_ghz,
                              accelerator.weight_buffer, accelerator.activation_buffer,
                              accelerator.off_chip_gbyte_per_s, accelerator.term_energy, accelerator.lane_area,
                              accelerator.array_mm2(), accelerator.buffer_mm2()});
  }
}

void add_emulation(const std::string& model, const std::string& assignment, const std::string& basis,
                   const Accelerator& accelerator, const std::string& layer, int images,
                   const LayerEmulation& emulation, Results& results) {
  const Slots& slots = emulation.slots;
  const Energy& energy = emulation.energy;
  const Traffic& traffic = emulation.traffic;
  results.emulation.add({model,
                         assignment,
                         basis,
                         accelerator.name,
                         layer,
                         std::int64_t(images),
                         emulation.cycles,
                         emulation.compute_cycles,
                         emulation.memory_cycles,
                         emulation.utilisation(),
                         slots.total,
                         slots.useful,
                         std::int64_t(emulation.zero_bits_known),
                         slots.edge,
                         slots.lane,
                         slots.row_column,
                         slots.null_term,
                         slots.memory,
                         energy.total(),
                         energy.compute,
                         energy.on_chip,
                         energy.off_chip,
                         energy.leakage,
                         traffic.weights_off_chip,
                         traffic.activations_off_chip,
                         traffic.weights_on_chip,
                         traffic.activations_on_chip});
}

std::shared_ptr<const QuantizedWeights> CandidateWeights::get(int weighted, int candidate) {
  auto& entry = cache_[{weighted, candidate}];
  if (!entry) {
    entry = std::make_shared<const QuantizedWeights>(
        quantize_layer(network_, layers_[weighted], candidates_[candidate], quantizer_));
  }
  return entry;
}

Variant CandidateWeights::variant(const Assignment& assignment) {
  Variant variant;
  for (int i = 0; i < int(assignment.size()); ++i) {
    if (assignment[i] != reference) variant.push_back({layers_[i], get(i, assignment[i])});
  }
  return variant;
}

Study::Study(const Inputs& inputs, Evaluator& evaluator, const Config& config, const Config::Model& model,
             Results& results, Walker* walker)
    : inputs_(inputs),
      evaluator_(evaluator),
      config_(config),
      results_(results),
      walker_(walker),
      name_(model.name),
      data_(Dataset::load(model.data)),
      input_table_(data_.input_table()) {
  for (const std::string& other : {config.calibration.split, config.search.split}) {
    if (data_.overlap(other, config.search.test_split)) {
      throw Error(
          "'" + model.data + "': split '" + other + "'",
          "it shares images with '" + config.search.test_split + "', which must judge on images never seen before",
          "set the splits apart there, or name others in '" + config.path + "'");
    }
  }
  Network network = inputs.network(model.onnx);
  network.name = model.name;
  const Images images = inputs_.images(data_, config.calibration.split, config.calibration.images, network);
  Progress progress(evaluator.ranks().root(), label("calibrate"), 1);
  const Calibration calibration = calibrate(evaluator.ranks(), network, images, input_table_, config.calibration.method,
                                            config.calibration.percentile);
  const Quantizer quantizer = shared_quantizer(evaluator.ranks(), quantizer_of(evaluator.backend()));
  network_ = make_integer(network, calibration, config.reference, input_table_, quantizer);
  layers_ = weighted_layers(network);
  std::vector<WeightFormat> candidates = config.search.candidates;
  candidates.insert(candidates.end(), config.search.pruned.begin(), config.search.pruned.end());
  weights_ = std::make_unique<CandidateWeights>(network_, std::move(candidates), quantizer);
  add_layers(name_, network, results, quantizer);
  progress.update(1);
}

void Study::search(const std::vector<Accelerator>& accelerators) {
  const Config::SearchOptions& options = config_.search;
  Images images = inputs_.images(data_, options.split, options.images, network_.network);
  shuffle(images, std::uint64_t(config_.seed));
  const HeldImages held(evaluator_.backend(), images.pixels);
  const Evaluator::NamedImages named_images(evaluator_, images);
  const Accelerator* design = find_design(accelerators, Design::bitcluster);
  if (!design) {
    throw Error("the search has no costs to minimise", "no accelerator of the config has design \"bitcluster\"",
                "add one to accelerators in [emulation]");
  }
  const Stopwatch float_watch;
  const std::vector<ImageScore> baseline =
      evaluator_.score_float(network_.network, images, input_table_, label("float, " + options.split + " split"));
  add_evaluation("float", options.split, baseline, baseline, float_watch.seconds(), nullptr);
  search_candidates(0, int(options.candidates.size()), *design, images, baseline);

  if (options.pruned.empty()) return;
  if (const Accelerator* pragmatic = find_design(accelerators, Design::pragmatic_weights)) {
    search_candidates(int(options.candidates.size()), int(options.pruned.size()), *pragmatic, images, baseline);
  } else {
    skip("search", bitpruner, "no accelerator of the config has design \"pragmatic_weights\", which runs its weights");
  }
}

void Study::search_candidates(int first, int count, const Accelerator& design, const Images& images,
                              const std::vector<ImageScore>& baseline) {
  const Config::SearchOptions& options = config_.search;
  const bool pruned = weights_->candidates()[first].pruned;
  const std::string prefix = pruned ? bitpruner + std::string(" ") : "";
  SearchProblem problem;
  problem.layers = int(layers_.size());
  problem.candidates = count;
  problem.budget = options.budget;
  problem.confident = options.confident;
  problem.policy = options.policy;
  problem.probes = options.probes;
  problem.choice_rounds = options.choice_rounds;
  problem.refine_rounds = options.refine_rounds;
  problem.patience = options.patience;
  problem.sensitivity_images = options.sensitivity_images;
  problem.baseline = baseline;
  std::vector<std::vector<LayerEmulation>> emulations(problem.layers);  // (layers, candidates)
  for (int layer = 0; layer < problem.layers; ++layer) {
    problem.cost.emplace_back();
    for (int candidate = 0; candidate < count; ++candidate) {
      const auto weights = weights_->get(layer, first + candidate);
      const LayerTensors tensors{
          layer_geometry(network_.network, layers_[layer]), weights->values, weights->format, {}, 8, false};
      emulations[layer].push_back(bitcluster::emulate(design, tensors));
      problem.cost[layer].push_back(cost_of(emulations[layer].back(), options.minimise));
    }
  }
  /// Candidates of the problem as candidates of weights_.
  const auto shifted = [first](Assignment assignment) {
    for (int& choice : assignment) choice += choice == reference ? 0 : first;
    return assignment;
  };

  LayerwiseSearch search(std::move(problem));
  const StopTest stop = [&](std::span<const ImageScore> some) { return search.hopeless(some); };
  std::vector<std::string> names;  // of what was checked
  for (int round = 1;; ++round) {
    const std::vector<Question> questions = search.next();
    if (questions.empty()) break;
    const Stopwatch watch;
    std::vector<Variant> variants;
    std::vector<Extent> extents;
    for (const Question& question : questions) {
      variants.push_back(weights_->variant(shifted(question.assignment)));
      extents.push_back({question.images, question.may_stop && options.early_stop});
    }
    const auto scores = evaluator_.score(
        network_, images, variants,
        label(prefix + "search round " + std::to_string(round) + ", " + std::to_string(variants.size()) +
              (variants.size() == 1 ? " assignment" : " assignments")),
        std::move(extents), stop);
    search.report(scores);
    const double seconds = watch.seconds() / double(questions.size());
    for (int choice = 1; names.size() < search.checked().size(); ++choice) {
      const std::vector<ImageScore>& own = scores[choice - 1];
      const LayerwiseSearch::Checked& checked = search.checked()[names.size()];
      const Assignment assignment = shifted(checked.assignment);
      names.push_back(prefix + "round " + std::to_string(round) + " choice " + std::to_string(choice));
      if (checked.role == "sensitivity") {
        int layer = 0;
        while (assignment[layer] == reference) ++layer;
        const WeightFormat& format = format_of(assignment[layer]);
        results_.sensitivity.add({name_, network_.network.layers[layers_[layer]].name, method_of(format),
                                  std::int64_t(format.bits), to_string(format.encoding), std::int64_t(format.terms),
                                  options.split, std::int64_t(checked.accuracy.images), checked.accuracy.top1,
                                  checked.accuracy.cross_entropy, checked.loss.loss, checked.loss.low,
                                  checked.loss.high});
        continue;
      }
      if (checked.role == "reference") names.back() = "integer";
      if (checked.role == "uniform") names.back() = prefix + candidate_name(format_of(assignment[0]));
      if (checked.role != "reference" || !pruned) {  // the integer weights are in the table once
        add_evaluation(names.back(), options.split, own, std::span(baseline).first(own.size()), seconds, &assignment);
      }
    }
  }
  std::vector<Assignment> assignments;
  for (const auto& checked : search.checked()) assignments.push_back(shifted(checked.assignment));
  add_front(search.checked(), names, assignments, emulations);
  const auto add = [&](const std::string& name, int index) {
    if (index < 0) {
      skip("search", name,
           "no assignment tried keeps the loss of top-1 accuracy within " + std::to_string(options.budget) +
               " on the split '" + options.split + "'");
    } else {
      found_.push_back({name, assignments[index], pruned});
      add_assignment(name, assignments[index]);
    }
  };
  if (pruned) {
    add(bitpruner, search.layerwise());
  } else {
    add("M-BC", search.uniform());
    add("L-BC", search.layerwise());
  }
}

void Study::add_front(const std::vector<LayerwiseSearch::Checked>& checked, const std::vector<std::string>& names,
                      const std::vector<Assignment>& assignments,
                      const std::vector<std::vector<LayerEmulation>>& emulations) {
  constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
  std::vector<std::vector<double>> points;  // (checked, 3): wrong images, cycles, energy
  for (const LayerwiseSearch::Checked& one : checked) {
    std::vector<double> point(3, unknown);
    if (one.complete && !std::isnan(one.cost)) {
      point = {1 - one.accuracy.top1, 0, 0};
      for (std::size_t layer = 0; layer < emulations.size(); ++layer) {
        const LayerEmulation& emulation = emulations[layer][one.assignment[layer]];
        point[1] += double(emulation.cycles);
        point[2] += emulation.energy.total();
      }
    }
    points.push_back(std::move(point));
  }
  const std::vector<bool> on_front = pareto(points);
  for (std::size_t i = 0; i < checked.size(); ++i) {
    if (!on_front[i]) continue;
    const PairedLoss& loss = checked[i].loss;
    results_.front.add({name_, names[i], method_of(format_of(assignments[i][0])), terms_mean(assignments[i]),
                        config_.search.split, std::int64_t(checked[i].accuracy.images), checked[i].accuracy.top1,
                        loss.loss, loss.low, loss.high, std::int64_t(checked[i].within_budget), points[i][1],
                        points[i][2]});
    add_assignment(names[i], assignments[i]);
  }
}

void Study::assign_uniformly() {
  for (int candidate = 0; candidate < int(weights_->candidates().size()); ++candidate) {
    const WeightFormat& format = weights_->candidates()[candidate];
    const std::string prefix = format.pruned ? bitpruner + std::string(" ") : "";
    weights_->variant(Assignment(layers_.size(), candidate));  // all ranks together
    found_.push_back({prefix + candidate_name(format), Assignment(layers_.size(), candidate), format.pruned});
    add_assignment(found_.back().name, found_.back().assignment);
  }
}

void Study::test() {
  const Config::SearchOptions& options = config_.search;
  const Images images = inputs_.images(data_, options.test_split, options.test_images, network_.network);
  const Evaluator::NamedImages named_images(evaluator_, images);
  const Stopwatch float_watch;
  const auto baseline =
      evaluator_.score_float(network_.network, images, input_table_, label("float, " + options.test_split + " split"));
  add_evaluation("float", options.test_split, baseline, baseline, float_watch.seconds(), nullptr);

  std::vector<Named> tested = {{"integer", Assignment(layers_.size(), reference)}};
  tested.insert(tested.end(), found_.begin(), found_.end());
  std::vector<Variant> variants;
  for (const Named& named : tested) variants.push_back(weights_->variant(named.assignment));
  const Stopwatch watch;
  const auto scores = evaluator_.score(network_, images, variants, label("integer, " + options.test_split + " split"));
  for (std::size_t i = 0; i < tested.size(); ++i) {
    add_evaluation(tested[i].name, options.test_split, scores[i], baseline, watch.seconds() / double(tested.size()),
                   &tested[i].assignment);
  }
}

void Study::emulate(const std::string& basis, const std::vector<Accelerator>& accelerators) {
  if (accelerators.empty()) {
    throw Error("'" + config_.path + "': nothing can be emulated", "it names no accelerator",
                "list TOML files under accelerators in [emulation]");
  }
  const Images images = inputs_.images(data_, config_.emulation.split, config_.emulation.images, network_.network);
  struct Task {
    const Accelerator* accelerator;
    const Named* named;
    int layer;  // weighted
    int image;
    int images;  // that it stands for
  };
  const Named integer{"integer", Assignment(layers_.size(), reference)};
  std::vector<Task> tasks;
  for (int image = 0; image < images.count; ++image) {
    for (const Accelerator& accelerator : accelerators) {
      // without a look at activations one image stands for all
      const bool looks = looks_at_activations(accelerator.design);
      if (image > 0 && !looks) continue;
      const auto add = [&](const Named& named) {
        for (int layer = 0; layer < int(layers_.size()); ++layer) {
          tasks.push_back({&accelerator, &named, layer, image, looks ? 1 : images.count});
        }
      };
      if (accelerator.design != Design::bitcluster) add(integer);
      for (const Named& named : found_) {
        if (accelerator.design == (named.pruned ? Design::pragmatic_weights : Design::bitcluster)) add(named);
      }
    }
  }
  if (found_.empty() && find_design(accelerators, Design::bitcluster)) {
    skip("emulate", find_design(accelerators, Design::bitcluster)->name, "no assignment was found for it");
  }

  int observed = -1;
  std::vector<std::vector<std::int16_t>> inputs;  // of one image and every layer with weights, (c, h, w)
  evaluator_.backend().load(network_);
  const auto work = [&](long index) {
    const Task& task = tasks[index];
    if (task.image != observed) {
      inputs.clear();
      evaluator_.backend().observe_inputs(
          {images.pixels.data() + task.image * network_.network.input().size(), 1}, {},
          [&](int, int, std::span<const std::int16_t> values) { inputs.emplace_back(values.begin(), values.end()); });
      observed = task.image;
    }
    const int choice = task.named->assignment[task.layer];
    const QuantizedWeights& weights =
        choice == reference ? network_.weights[layers_[task.layer]] : *weights_->get(task.layer, choice);
    const ActivationFormat& input = network_.formats[network_.network.layers[layers_[task.layer]].inputs[0]];
    const LayerEmulation emulation =
        bitcluster::emulate(*task.accelerator,
                            {layer_geometry(network_.network, layers_[task.layer]), weights.values, weights.format,
                             inputs[task.layer], 8, input.is_signed},
                            walker_);
    Payload payload(sizeof emulation);
    std::memcpy(payload.data(), &emulation, sizeof emulation);
    return payload;
  };
  Progress progress(evaluator_.ranks().root(), label("emulate at equal " + basis), long(tasks.size()));
  TaskList list{long(tasks.size()), work, [&](long done) { progress.update(done); }, {}, {}, {}};
  std::vector<Key> keys;
  if (Journal* const journal = evaluator_.journal()) {
    const Key of_network = content_key(network_);
    KeyBuilder reference_weights;  // decide the activations
    for (const QuantizedWeights& weights : network_.weights) reference_weights.add(content_key(weights));
    const Key of_weights = reference_weights.key();
    std::map<const Accelerator*, Key> of_accelerators;
    for (const Accelerator& accelerator : accelerators) of_accelerators[&accelerator] = content_key(accelerator);
    for (const Task& task : tasks) {
      const int choice = task.named->assignment[task.layer];
      KeyBuilder builder;
      builder.add("emulation").add(of_network).add(of_weights).add(of_accelerators[task.accelerator]);
      builder.add(std::int64_t(task.layer)).add(std::int64_t(choice != reference));
      if (choice != reference) builder.add(content_key(*weights_->get(task.layer, choice)));
      const std::size_t size = images.shape.size();
      keys.push_back(builder.add(std::span<const std::uint8_t>(images.pixels).subspan(task.image * size, size)).key());
    }
    list.find = [&keys, journal](long task) -> std::optional<Payload> {
      const auto found = journal->find(keys[task]);
      if (!found) return std::nullopt;
      return Payload(found->begin(), found->end());
    };
    list.keep = [&keys, journal](long task, const Payload& payload) { journal->append(keys[task], payload); };
  }
  const auto payloads = evaluator_.ranks().distribute(list);

  // sums over the images, in their order
  struct Row {
    const Task* task;
    LayerEmulation sum;
    int images = 0;
  };
  std::vector<Row> rows;
  std::map<std::tuple<const Accelerator*, const Named*, int>, std::size_t> places;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const Task& task = tasks[i];
    const auto [place, is_new] = places.try_emplace({task.accelerator, task.named, task.layer}, rows.size());
    if (is_new) rows.push_back({&task, {}});
    LayerEmulation emulation;
    std::memcpy(&emulation, payloads[i].data(), sizeof emulation);
    for (int image = 0; image < task.images; ++image) rows[place->second].sum += emulation;
    rows[place->second].images += task.images;
  }
  for (const Row& row : rows) {
    add_emulation(name_, row.task->named->name, basis, *row.task->accelerator,
                  network_.network.layers[layers_[row.task->layer]].name, row.images, row.sum, results_);
  }
}

void Study::add_evaluation(const std::string& assignment, const std::string& split, std::span<const ImageScore> scores,
                           std::span<const ImageScore> float_scores, double seconds, const Assignment* choices) {
  const Accuracy accuracy = summarize(scores);
  const PairedLoss loss = paired_loss(float_scores, scores);
  std::string weights = "float", encoding = "";
  double terms = 0;
  if (choices) {
    const bool plain = std::all_of(choices->begin(), choices->end(), [](int choice) { return choice == reference; });
    const WeightFormat& format = format_of(*std::max_element(choices->begin(), choices->end()));
    weights = plain ? "integer" : method_of(format);
    encoding = to_string(format.encoding);
    terms = terms_mean(*choices);
  }
  results_.evaluations.add({name_, assignment, weights, encoding, terms, split, std::int64_t(accuracy.images),
                            accuracy.top1, accuracy.top5, accuracy.cross_entropy, loss.loss, loss.low, loss.high,
                            seconds});
}

void Study::add_assignment(const std::string& name, const Assignment& assignment) {
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    const WeightFormat& format = format_of(assignment[i]);
    results_.assignments.add({name_, name, network_.network.layers[layers_[i]].name, std::int64_t(format.bits),
                              to_string(format.encoding), std::int64_t(format.terms)});
  }
}

std::string Study::candidate_name(const WeightFormat& format) const {
  std::string name = "N=" + std::to_string(format.terms);
  const std::vector<WeightFormat>& all = config_.search.candidates;
  const auto differs = [&](auto member) {
    return !format.pruned && std::any_of(all.begin(), all.end(),
                                         [&](const WeightFormat& other) { return other.*member != format.*member; });
  };
  if (differs(&WeightFormat::encoding)) name += " " + to_string(format.encoding);
  if (differs(&WeightFormat::bits)) name += " " + std::to_string(format.bits) + " bit";
  return name;
}

const WeightFormat& Study::format_of(int choice) const {
  return choice == reference ? config_.reference : weights_->candidates()[choice];
}

void Study::skip(const std::string& stage, const std::string& subject, const std::string& reason) {
  results_.skipped.add({name_, stage, subject, reason});
}

double Study::terms_mean(const Assignment& choices) {
  double terms = 0, weights = 0;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const QuantizedWeights& layer =
        choices[i] == reference ? network_.weights[layers_[i]] : *weights_->get(int(i), choices[i]);
    terms += mean_terms(layer) * double(layer.values.size());
    weights += double(layer.values.size());
  }
  return terms / weights;
}

}  // namespace bitcluster
