#include "harness/plan/predict.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "harness/scoring/tiles.hpp"
#include "harness/study/candidate_search.hpp"
#include "host/base/parallel.hpp"

namespace bitcluster {
namespace {

/// Program, libraries, MPI and tensors of a chunk of images: what a rank needs beside images and weights [byte].
constexpr double resident_bytes = 150e6;

/// One variant of a round.
struct Score {
  VariantTime time;
  ScoreExtent extent;
};

/// What is scored of one model in a round.
struct Round {
  std::vector<Score> scores;
  int images = 0;  // of the split
};

/// What an assignment costs: by how many layers it changes.
const VariantTime& time_of(const Assignment& assignment, const ModelCosts& costs) {
  int changed = 0, last = 0;
  for (int layer = 0; layer < int(assignment.size()); ++layer) {
    if (assignment[layer] == reference_choice) continue;
    ++changed;
    last = layer;
  }
  return changed == 0 ? costs.reference : changed == 1 ? costs.alone[last] : costs.everything;
}

class Predictor {
 public:
  Predictor(std::span<const ModelCosts> models, const PlannedStudy& study, int ranks, const Overheads& overheads)
      : models_(models),
        study_(study),
        search_(study.config.search),
        searches_(searches_of(study)),
        ranks_(ranks),
        several_(ranks > 1),
        overheads_(overheads),
        worked_on_(models.size()) {
    for (const Config::Candidates* candidates : searches_) formats_ += candidates->formats.size();
  }

  Prediction run() {
    prepare();
    score(result_.baseline, float_rounds(&ModelCosts::search_images), emulation_times(cost_list()));
    score(result_.first, first_rounds());
    const std::vector<Round> probes = probe_rounds();  // numbers of rounds are upper bounds
    for (int round = 0; round < search_.choice_rounds + search_.refine_rounds; ++round) score(result_.probes, probes);
    score(result_.probes, validation_rounds());
    const double held_in_search = read_once(&ModelCosts::search_images, true);
    score(result_.test, test_rounds(), emulation_times(study_list()));
    const double held_in_test = read_once(&ModelCosts::test_images, false);
    count_bytes(std::max(held_in_search, held_in_test));
    return result_;
  }

 private:
  /// Import, calibration, quantization.
  void prepare() {
    for (const ModelCosts& costs : models_) {
      result_.serial += costs.import;
      const double share = costs.shared_reading ? double(costs.calibration_images) / ranks_ : costs.calibration_images;
      read(costs, share, costs.shared_reading);
      result_.serial += costs.calibrate((costs.calibration_images + ranks_ - 1) / ranks_);
      // every rank does some filters of the large layers and gets the rest; the reference twice, for the terms in
      // /layers
      const double quantize = 2 * costs.quantize_reference + costs.quantize_candidates;
      result_.serial += quantize * (costs.small_weights + (1 - costs.small_weights) / ranks_) +
                        several_ * double(2 + formats_) * costs.weights * sizeof(std::int16_t) / broadcast_bytes_per_s;
      if (costs.compensate_candidates > 0) {
        result_.serial += costs.gram((costs.calibration_images + ranks_ - 1) / ranks_) +
                          costs.compensate_candidates * (costs.small_weights + (1 - costs.small_weights) / ranks_);
      }
      // on the root: names of all weights
      result_.serial += costs.keys * costs.weights * double(2 * sizeof(float) + (1 + formats_) * sizeof(std::int16_t));
    }
  }

  std::vector<Round> float_rounds(int ModelCosts::*images) const {
    std::vector<Round> rounds;
    for (const ModelCosts& costs : models_) {
      const VariantTime time{costs.in_float, {0, costs.run_float.each}, costs.run_float.fixed};
      rounds.push_back({{{time, {costs.*images, false}}}, costs.*images});
    }
    return rounds;
  }

  /// What the searches ask for first. The searches of a model are scored as one; the reference is asked for by each of
  /// them.
  std::vector<Round> first_rounds() const {
    std::vector<Round> rounds;
    for (const ModelCosts& costs : models_) {
      const int images = costs.search_images - costs.validation_images;
      Round& round = rounds.emplace_back(Round{{}, images});
      for (const Config::Candidates* candidates : searches_) {
        const int layers = int(costs.layers.size()), count = int(candidates->formats.size());
        LayerEmulation one;
        one.cycles = 1;  // any costs: the first round does not depend on them
        const std::vector<LayerEmulation> any(std::size_t(layers) * count, one);
        LayerwiseSearch search(
            search_problem(search_, layers, count, any, std::vector<ImageScore>(static_cast<std::size_t>(images)), {}));
        const std::vector<Question> questions = search.next();
        const std::vector<ScoreExtent> extents = extents_of(questions, search_.early_stop);
        for (std::size_t i = 0; i < questions.size(); ++i) {
          const bool repeated =
              candidates != searches_[0] && &time_of(questions[i].assignment, costs) == &costs.reference;
          if (!repeated) round.scores.push_back({time_of(questions[i].assignment, costs), extents[i]});
        }
      }
    }
    return rounds;
  }

  /// All that a later round may ask for.
  std::vector<Round> probe_rounds() const {
    std::vector<Round> rounds;
    for (const ModelCosts& costs : models_) {
      const int images = costs.search_images - costs.validation_images;
      const Score probe{costs.everything, {images, search_.early_stop}};
      rounds.push_back({std::vector<Score>(searches_.size() * search_.probes, probe), images});
    }
    return rounds;
  }

  /// The cheapest assignments and the cheapest uniform one on the images that confirm them.
  std::vector<Round> validation_rounds() const {
    std::vector<Round> rounds;
    for (const ModelCosts& costs : models_) {
      if (costs.validation_images == 0) continue;
      const Score one{costs.everything, {costs.validation_images, false}};
      rounds.push_back({std::vector<Score>(searches_.size() * (search_.probes + 1), one), costs.validation_images});
    }
    return rounds;
  }

  std::vector<Round> test_rounds() const {
    std::vector<Round> rounds = float_rounds(&ModelCosts::test_images);
    for (const ModelCosts& costs : models_) {
      const ScoreExtent extent{costs.test_images, false};
      Round& round = rounds.emplace_back(
          Round{std::vector<Score>(found(costs).size(), {costs.everything, extent}), costs.test_images});
      round.scores.push_back({costs.reference, extent});
    }
    return rounds;
  }

  /// All that the searches may end with.
  std::vector<NamedAssignment> found(const ModelCosts& costs) const {
    std::vector<NamedAssignment> assignments;
    for (const Config::Candidates* candidates : searches_) {
      for (const std::string& name : searched_names(*candidates->preparation)) {
        assignments.push_back({name, Assignment(costs.layers.size(), 0), candidates->preparation});
      }
    }
    return assignments;
  }

  EmulationList cost_list() const {
    EmulationList list;
    for (int model = 0; model < int(models_.size()); ++model) {
      for (const Config::Candidates* candidates : searches_) {
        const Accelerator* design = find_design(study_.searched, candidates->preparation->design);
        add_search_costs(model, int(models_[model].layers.size()), 0, int(candidates->formats.size()), *design, list);
      }
    }
    return list;
  }

  EmulationList study_list() const {
    EmulationList list;
    for (int model = 0; model < int(models_.size()); ++model) {
      const ModelCosts& costs = models_[model];
      const NamedAssignment plain{std::string(plain_weights.name), Assignment(costs.layers.size(), reference_choice),
                                  &plain_weights};
      add_study(costs.name, model, costs.layers, study_.bases, plain, found(costs), costs.emulated_images, list);
    }
    return list;
  }

  /// In the order in which they are handed out. A rank that comes to an image computes its activations.
  std::vector<TaskTime> emulation_times(const EmulationList& list) const {
    std::vector<double> looking(models_.size());  // tasks of one image that look at activations
    for (const EmulationTask& task : list.tasks) looking[task.model] += task.image == 0;
    std::vector<double> costs, seconds;
    std::vector<int> images;
    for (const EmulationTask& task : list.tasks) {
      const ModelCosts& model = models_[task.model];
      const double products = model.products[task.layer], count = looking[task.model];
      costs.push_back(emulation_cost(*task.accelerator, products));
      const double observe =
          task.image < 0 ? 0 : model.observe * std::min(double(ranks_), count) / std::max(1.0, count);
      seconds.push_back(model.emulate.at(task.accelerator->name) * products + observe);
      images.push_back(task.image);
    }
    std::vector<TaskTime> times;
    for (const std::size_t i : emulation_order(costs, images, std::numeric_limits<double>::infinity())) {
      times.push_back({seconds[i], 0, {costs[i]}});
    }
    return times;
  }

  /// others: begun before.
  void score(double& wall, const std::vector<Round>& rounds, std::vector<TaskTime> tasks = {}) {
    double result_bytes = double(tasks.size()) * sizeof(LayerEmulation);
    for (const Round& round : rounds) result_bytes += double(round.scores.size()) * round.images * sizeof(ImageScore);
    const std::vector<TaskTime> tiles = tile_times(rounds);
    tasks.insert(tasks.end(), tiles.begin(), tiles.end());
    wall += simulate(tasks, ranks_, overheads_).makespan;
    result_.tasks += long(tasks.size());
    result_.serial += several_ * result_bytes / broadcast_bytes_per_s;
  }

  /// The tiles of what all searches have scored at once. Rounds are of the models, again and again.
  std::vector<TaskTime> tile_times(const std::vector<Round>& rounds) {
    std::vector<Demand> demands;
    std::vector<std::vector<VariantCost>> seconds;
    for (const Round& round : rounds) {
      Demand& demand = demands.emplace_back();
      std::vector<VariantCost>& of_round = seconds.emplace_back();
      demand.images = round.images;
      demand.known.resize(round.scores.size() * std::size_t((round.images + block_images - 1) / block_images));
      for (const Score& score : round.scores) {
        demand.costs.push_back(score.time.products);
        demand.extents.push_back(score.extent);
        of_round.push_back(score.time.seconds);
      }
    }
    std::vector<TaskTime> tasks;
    for (const Tile& tile : cut(demands, ranks_, thread_count())) {
      double pack = 0;
      for (const int variant : tile.variants) pack += rounds[tile.demand].scores[variant].time.pack;
      worked_on_[tile.demand % models_.size()] += tile.images;
      tasks.push_back(
          {cost_of(seconds[tile.demand], tile.variants) * tile.images, pack, {tile.cost, tile.kind, tile.demand}});
    }
    return tasks;
  }

  /// What one rank reads, or the root for all, and what it then holds [byte].
  double read(const ModelCosts& costs, double images, bool alone) {
    result_.serial += costs.read(images) + (alone ? 0 : several_ * images * costs.image_bytes / broadcast_bytes_per_s);
    return images * costs.image_bytes;
  }

  /// Models with the same images read them once. A rank reads those that it has a part in naming and those of its
  /// tiles, at worst others in every tile. What it holds of them [byte]; whole huge pages are about twice as much.
  double read_once(int ModelCosts::*images, bool held_at_once) {
    std::map<std::string, double> of_tiles;
    double held = 0;
    for (std::size_t i = 0; i < models_.size(); ++i) of_tiles[models_[i].data] += std::exchange(worked_on_[i], 0);
    for (const ModelCosts& costs : models_) {
      const auto found = of_tiles.find(costs.data);
      if (found == of_tiles.end()) continue;
      const double all = costs.*images, share = all / ranks_;
      const bool partly = costs.shared_reading && !(held_at_once && costs.holds);
      const double own = partly ? std::min(all, share + found->second / ranks_) : all;
      held += std::min(all * costs.image_bytes, (partly ? 2 : 1) * read(costs, own, costs.shared_reading));
      result_.serial += share * costs.image_bytes * costs.keys;
      of_tiles.erase(found);
    }
    return held;
  }

  /// float, int16 of the reference and of all candidates, packed reference, float network and assignment of the last
  /// tile; images, once for models that share them, and those under way in float32
  void count_bytes(double held) {
    double in_float = 0;
    result_.bytes = resident_bytes + held;
    for (const ModelCosts& costs : models_) {
      result_.bytes += (4 + 2 + 2 * double(formats_) + 1 + 4 + 1) * costs.weights;
      const int calibration_images = (costs.calibration_images + ranks_ - 1) / ranks_;
      in_float = std::max(in_float, sizeof(float) * costs.image_bytes *
                                        std::max(calibration_images, float_images_per_thread * thread_count()));
    }
    result_.bytes += in_float;
  }

  std::span<const ModelCosts> models_;
  const PlannedStudy& study_;
  const Config::SearchOptions& search_;
  const std::vector<const Config::Candidates*> searches_;
  std::size_t formats_ = 0;
  const int ranks_;
  const double several_;
  const Overheads overheads_;
  std::vector<double> worked_on_;  // (models): images, tile by tile, since they were read last
  Prediction result_;
};

}  // namespace

std::vector<const Config::Candidates*> searches_of(const PlannedStudy& study) {
  std::vector<const Config::Candidates*> searches;
  for (const Config::Candidates& candidates : study.config.search.candidates) {
    if (find_design(study.searched, candidates.preparation->design)) searches.push_back(&candidates);
  }
  return searches;
}

Prediction predict(std::span<const ModelCosts> models, const PlannedStudy& study, int ranks,
                   const Overheads& overheads) {
  return Predictor(models, study, ranks, overheads).run();
}

}  // namespace bitcluster
