#include "harness/study/model_study.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "harness/ranks/shared_preparation.hpp"
#include "harness/study/rows.hpp"
#include "host/base/error.hpp"
#include "host/emulation/design.hpp"

namespace bitcluster {
namespace {

double cost_of(const LayerEmulation& emulation, const std::string& minimise) {
  if (minimise == "energy") return emulation.energy.total();
  // the product is taken layer by layer so that costs stay additive
  if (minimise == "energy_delay") return emulation.energy.total() * double(emulation.cycles);
  return double(emulation.cycles);
}

/// The first accelerator of a design, null without any.
const Accelerator* find_design(const std::vector<Accelerator>& accelerators, std::string_view design) {
  const auto found = std::find_if(accelerators.begin(), accelerators.end(),
                                  [&](const Accelerator& accelerator) { return accelerator.design->name == design; });
  return found == accelerators.end() ? nullptr : &*found;
}

constexpr const char* bitpruner = "BitPruner";

std::string method_of(const WeightFormat& format) { return format.pruned ? "bitpruner" : "bitcluster"; }

}  // namespace

std::shared_ptr<const QuantizedWeights> CandidateWeights::get(int weighted, int candidate) {
  auto& entry = cache_[{weighted, candidate}];
  if (!entry) {
    entry = std::make_shared<const QuantizedWeights>(
        quantize_layer(*network_, layers_[weighted], candidates_[candidate], quantizer_));
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

Study::Study(const Inputs& inputs, const Ranks& ranks, Backend& backend, const Config& config,
             const Config::Model& model, Network network)
    : inputs_(&inputs),
      config_(&config),
      backend_(&backend),
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
  network.name = model.name;
  const auto images = inputs.images(data_, config.calibration.split, config.calibration.images, network);
  const Calibration calibration =
      calibrate(ranks, network, *images, input_table_, config.calibration.method, config.calibration.percentile);
  const Quantizer quantizer = shared_quantizer(ranks, quantizer_of(backend));
  network_ = std::make_shared<const IntegerNetwork>(
      make_integer(std::move(network), calibration, config.reference, input_table_, quantizer));
  layers_ = weighted_layers(network_->network);
  std::vector<WeightFormat> candidates = config.search.candidates;
  candidates.insert(candidates.end(), config.search.pruned.begin(), config.search.pruned.end());
  weights_ = std::make_unique<CandidateWeights>(network_, std::move(candidates), quantizer);
  integer_ = {"integer", Assignment(layers_.size(), reference)};
  add_layers(name_, network_->network, results_, quantizer);
  backend.load(*network_);
}

void Study::read_search_images() {
  const Config::SearchOptions& options = config_->search;
  images_ = inputs_->images(data_, options.split, options.images, network(), std::uint64_t(config_->seed));
  if (backend_->can_hold()) held_.emplace(*backend_, images_->pixels(0, images_->count));
}

void Study::drop_images() {
  held_.reset();
  images_.reset();
}

void Study::read_test_images() {
  images_ = inputs_->images(data_, config_->search.test_split, config_->search.test_images, network());
}

void Study::take_float(std::vector<ImageScore> scores, double seconds) {
  baseline_ = std::move(scores);
  add_evaluation("float", baseline_, seconds, nullptr);
}

ScoreRequest Study::test_request() {
  std::vector<Variant> variants = {{}};
  for (const Named& named : found_) variants.push_back(weights_->variant(named.assignment));
  return request(std::move(variants));
}

void Study::take_test(const Scores& scores, double seconds) {
  add_evaluation(integer_.name, scores[0], seconds, &integer_.assignment);
  for (std::size_t i = 0; i < found_.size(); ++i) {
    add_evaluation(found_[i].name, scores[i + 1], seconds, &found_[i].assignment);
  }
}

std::vector<EmulationTask> Study::emulation_tasks(const std::vector<Basis>& bases) {
  emulated_ = inputs_->images(data_, config_->emulation.split, config_->emulation.images, network());
  observed_ = -1;
  image_keys_.clear();
  for (int image = 0; image < emulated_->count; ++image) {
    image_keys_.push_back(KeyBuilder().add(emulated_->pixels(image, 1)).key());
  }
  std::vector<EmulationTask> tasks;
  for (const Basis& basis : bases) {
    for (int image = 0; image < emulated_->count; ++image) {
      for (const Accelerator& accelerator : basis.accelerators) {
        // without a look at activations one image stands for all
        const bool looks = accelerator.design->looks_at_activations();
        if (image > 0 && !looks) continue;
        const auto add = [&](const Named& named) {
          for (int layer = 0; layer < int(layers_.size()); ++layer) {
            tasks.push_back({this, &basis, &accelerator, &named.name, layer, named.assignment[layer],
                             looks ? image : -1, looks ? 1 : emulated_->count});
          }
        };
        if (accelerator.design->name != "bitcluster") add(integer_);
        for (const Named& named : found_) {
          if (accelerator.design->name == (named.pruned ? "pragmatic_weights" : "bitcluster")) add(named);
        }
      }
    }
    const Accelerator* bitcluster = find_design(basis.accelerators, "bitcluster");
    if (found_.empty() && bitcluster) skip("emulate", bitcluster->name, "no assignment was found for it");
  }
  return tasks;
}

LayerEmulation Study::emulate(const EmulationTask& task, StepCounter* step_counter) {
  const QuantizedWeights& weights = weights_of(task.layer, task.choice);
  LayerTensors tensors{layer_geometry(network(), layers_[task.layer]), weights.values, weights.format, {}, 8, false};
  if (task.image >= 0) {
    if (task.image != observed_) {
      inputs_of_layers_.clear();
      backend_->observe_inputs({emulated_->image(task.image), 1}, {},
                               [&](int, int, std::span<const std::int16_t> values) {
                                 inputs_of_layers_.emplace_back(values.begin(), values.end());
                               });
      observed_ = task.image;
    }
    tensors.activations = inputs_of_layers_[task.layer];
    tensors.activations_signed = network_->formats[network().layers[layers_[task.layer]].inputs[0]].is_signed;
  }
  return bitcluster::emulate(*task.accelerator, tensors, step_counter);
}

Key Study::key(const EmulationTask& task, KeyCache& keys) const {
  KeyBuilder builder;
  // the reference weights decide the activations
  builder.add("emulation").add(std::span<const Key>(keys.of(network_))).add(content_key(*task.accelerator));
  builder.add(std::int64_t(task.layer)).add(std::int64_t(task.choice != reference));
  if (task.choice != reference) builder.add(keys.of(weights_->get(task.layer, task.choice))[0]);
  if (task.image >= 0) builder.add(image_keys_[task.image]);
  return builder.key();
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

void Study::add_evaluation(const std::string& assignment, std::span<const ImageScore> scores, double seconds,
                           const Assignment* choices) {
  const Accuracy accuracy = summarize(scores);
  const PairedLoss loss = paired_loss(std::span(baseline_).first(scores.size()), scores);
  std::string weights = "float", encoding = "";
  double terms = 0;
  if (choices) {
    const bool plain = std::all_of(choices->begin(), choices->end(), [](int choice) { return choice == reference; });
    const WeightFormat& format = format_of(*std::max_element(choices->begin(), choices->end()));
    weights = plain ? "integer" : method_of(format);
    encoding = to_string(format.encoding);
    terms = terms_mean(*choices);
  }
  results_.evaluations.add({name_, assignment, weights, encoding, terms, images_->split, std::int64_t(accuracy.images),
                            accuracy.top1, accuracy.top5, accuracy.cross_entropy, loss.loss, loss.low, loss.high,
                            seconds});
}

void Study::add_assignment(const std::string& name, const Assignment& assignment) {
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    const WeightFormat& format = format_of(assignment[i]);
    results_.assignments.add({name_, name, layer_name(int(i)), std::int64_t(format.bits), to_string(format.encoding),
                              std::int64_t(format.terms)});
  }
}

std::string Study::candidate_name(const WeightFormat& format) const {
  std::string name = "N=" + std::to_string(format.terms);
  const std::vector<WeightFormat>& all = config_->search.candidates;
  const auto differs = [&](auto member) {
    return !format.pruned && std::any_of(all.begin(), all.end(),
                                         [&](const WeightFormat& other) { return other.*member != format.*member; });
  };
  if (differs(&WeightFormat::encoding)) name += " " + to_string(format.encoding);
  if (differs(&WeightFormat::bits)) name += " " + std::to_string(format.bits) + " bit";
  return name;
}

const WeightFormat& Study::format_of(int choice) const {
  return choice == reference ? config_->reference : weights_->candidates()[choice];
}

const QuantizedWeights& Study::weights_of(int layer, int choice) const {
  return choice == reference ? network_->weights[layers_[layer]] : *weights_->get(layer, choice);
}

void Study::skip(const std::string& stage, const std::string& subject, const std::string& reason) {
  results_.skipped.add({name_, stage, subject, reason});
}

double Study::terms_mean(const Assignment& choices) {
  double terms = 0, weights = 0;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const QuantizedWeights& layer = weights_of(int(i), choices[i]);
    terms += mean_terms(layer) * double(layer.values.size());
    weights += double(layer.values.size());
  }
  return terms / weights;
}

std::vector<CandidateSearch> CandidateSearch::of(Study& study, const std::vector<Accelerator>& accelerators) {
  const Config::SearchOptions& options = study.config_->search;
  const int own = int(options.candidates.size()), pruned = int(options.pruned.size());
  const Accelerator* design = find_design(accelerators, "bitcluster");
  if (!design) {
    throw Error("the search has no costs to minimise", "no accelerator of the config has design \"bitcluster\"",
                "add one to accelerators in [emulation]");
  }
  std::vector<CandidateSearch> searches;
  searches.push_back(CandidateSearch(study, 0, own, *design));
  if (pruned == 0) return searches;
  if (const Accelerator* pragmatic = find_design(accelerators, "pragmatic_weights")) {
    searches.push_back(CandidateSearch(study, own, pruned, *pragmatic));
  } else {
    study.skip("search", bitpruner,
               "no accelerator of the config has design \"pragmatic_weights\", which runs its weights");
  }
  return searches;
}

CandidateSearch::CandidateSearch(Study& study, int first, int count, const Accelerator& design)
    : study_(&study),
      first_(first),
      count_(count),
      design_(&design),
      pruned_(study.weights_->candidates()[first].pruned),
      prefix_(pruned_ ? bitpruner + std::string(" ") : "") {
  for (int candidate = first; candidate < first + count; ++candidate) {
    study.weights_->variant(Assignment(study.layers_.size(), candidate));  // all ranks together
  }
}

std::vector<EmulationTask> CandidateSearch::cost_tasks() const {
  std::vector<EmulationTask> tasks;
  for (int layer = 0; layer < int(study_->layers_.size()); ++layer) {
    for (int candidate = first_; candidate < first_ + count_; ++candidate) {
      tasks.push_back({study_, nullptr, design_, nullptr, layer, candidate});
    }
  }
  return tasks;
}

void CandidateSearch::take_costs(std::vector<LayerEmulation> costs) {
  costs_ = std::move(costs);
  const Config::SearchOptions& options = study_->config_->search;
  SearchProblem problem;
  problem.layers = int(study_->layers_.size());
  problem.candidates = count_;
  problem.budget = options.budget;
  problem.confident = options.confident;
  problem.policy = options.policy;
  problem.probes = options.probes;
  problem.choice_rounds = options.choice_rounds;
  problem.refine_rounds = options.refine_rounds;
  problem.patience = options.patience;
  problem.sensitivity_images = options.sensitivity_images;
  problem.baseline = study_->baseline_;
  problem.cost.resize(problem.layers);
  for (std::size_t i = 0; i < costs_.size(); ++i) {
    problem.cost[i / count_].push_back(cost_of(costs_[i], options.minimise));
  }
  search_ = std::make_unique<LayerwiseSearch>(std::move(problem));
}

/// Candidates of the search as candidates of the study.
Assignment CandidateSearch::shifted(Assignment assignment) const {
  for (int& choice : assignment) choice += choice == reference ? 0 : first_;
  return assignment;
}

std::optional<ScoreRequest> CandidateSearch::next() {
  const std::vector<Question> questions = search_->next();
  if (questions.empty()) return std::nullopt;
  ++round_;
  std::vector<Variant> variants;
  std::vector<Extent> extents;
  for (const Question& question : questions) {
    variants.push_back(study_->weights_->variant(shifted(question.assignment)));
    extents.push_back({question.images, question.may_stop && study_->config_->search.early_stop});
  }
  ScoreRequest request = study_->request(std::move(variants));
  request.extents = std::move(extents);
  request.stop = [search = search_.get()](std::span<const ImageScore> some) { return search->hopeless(some); };
  return request;
}

void CandidateSearch::take(const Scores& scores, double seconds) {
  Study& study = *study_;
  search_->report(scores);
  for (int choice = 1; names_.size() < search_->checked().size(); ++choice) {
    const LayerwiseSearch::Checked& checked = search_->checked()[names_.size()];
    const Assignment assignment = shifted(checked.assignment);
    names_.push_back(prefix_ + "round " + std::to_string(round_) + " choice " + std::to_string(choice));
    if (checked.role == "sensitivity") {
      int layer = 0;
      while (assignment[layer] == reference) ++layer;
      const WeightFormat& format = study.format_of(assignment[layer]);
      study.results_.sensitivity.add({study.name_, study.layer_name(layer), method_of(format),
                                      std::int64_t(format.bits), to_string(format.encoding), std::int64_t(format.terms),
                                      study.images_->split, std::int64_t(checked.accuracy.images),
                                      checked.accuracy.top1, checked.accuracy.cross_entropy, checked.loss.loss,
                                      checked.loss.low, checked.loss.high});
      continue;
    }
    if (checked.role == "reference") names_.back() = "integer";
    if (checked.role == "uniform") names_.back() = prefix_ + study.candidate_name(study.format_of(assignment[0]));
    if (checked.role != "reference" || !pruned_) {  // the integer weights are in the table once
      study.add_evaluation(names_.back(), scores[choice - 1], seconds, &assignment);
    }
  }
}

void CandidateSearch::finish() {
  add_front();
  const auto add = [&](const std::string& name, int index) {
    if (index < 0) {
      const Config::SearchOptions& options = study_->config_->search;
      study_->skip("search", name,
                   "no assignment tried keeps the loss of top-1 accuracy within " + std::to_string(options.budget) +
                       " on the split '" + options.split + "'");
    } else {
      const Assignment assignment = shifted(search_->checked()[index].assignment);
      study_->found_.push_back({name, assignment, pruned_});
      study_->add_assignment(name, assignment);
    }
  };
  if (pruned_) {
    add(bitpruner, search_->layerwise());
  } else {
    add("M-BC", search_->uniform());
    add("L-BC", search_->layerwise());
  }
}

/// Rows of /front and its assignments: of what was checked on the whole search split, what nothing else beats in top-1
/// accuracy, cycles and energy together.
void CandidateSearch::add_front() {
  const std::vector<LayerwiseSearch::Checked>& checked = search_->checked();
  constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
  std::vector<std::vector<double>> points;  // (checked, 3): wrong images, cycles, energy
  for (const LayerwiseSearch::Checked& one : checked) {
    std::vector<double> point(3, unknown);
    if (one.complete && !std::isnan(one.cost)) {
      point = {1 - one.accuracy.top1, 0, 0};
      for (std::size_t layer = 0; layer < one.assignment.size(); ++layer) {
        const LayerEmulation& emulation = costs_[layer * count_ + one.assignment[layer]];
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
    const Assignment assignment = shifted(checked[i].assignment);
    study_->results_.front.add({study_->name_, names_[i], method_of(study_->format_of(assignment[0])),
                                study_->terms_mean(assignment), study_->images_->split,
                                std::int64_t(checked[i].accuracy.images), checked[i].accuracy.top1, loss.loss, loss.low,
                                loss.high, std::int64_t(checked[i].within_budget), points[i][1], points[i][2]});
    study_->add_assignment(names_[i], assignment);
  }
}

}  // namespace bitcluster
