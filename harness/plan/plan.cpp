#include "harness/plan/plan.hpp"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <tuple>

#include "harness/journal/journal.hpp"
#include "harness/ranks/devices.hpp"
#include "harness/ranks/progress.hpp"
#include "harness/ranks/shared_inputs.hpp"
#include "harness/ranks/shared_preparation.hpp"
#include "harness/ranks/task_queue.hpp"
#include "harness/scoring/evaluator.hpp"
#include "harness/scoring/tiles.hpp"
#include "host/base/parallel.hpp"
#include "host/cpu/float_network.hpp"
#include "host/emulation/design.hpp"
#include "host/emulation/emulator.hpp"
#include "host/search/layerwise_search.hpp"

namespace bitcluster {

Schedule simulate(std::span<const TaskTime> tasks, int ranks, const Overheads& overheads) {
  struct Event {
    double time;
    bool at_root;  // a worker's message, else the root itself is free
    int rank;
    bool result;
    bool operator>(const Event& other) const {
      return std::tie(time, at_root, rank) > std::tie(other.time, other.at_root, other.rank);
    }
  };
  struct Worker {
    int asked = 0, busy = 0;
    double free = 0;
  };
  std::vector<TaskTraits> traits;
  for (const TaskTime& task : tasks) traits.push_back(task.traits);
  TaskQueue queue(std::move(traits), ranks);
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events;
  std::vector<Worker> workers(ranks);
  events.push({0, false, 0, false});
  for (int rank = 1; rank < ranks; ++rank) {
    for (int i = 0; i < tasks_ahead; ++i) events.push({overheads.message, true, rank, false});
  }
  Schedule schedule;
  /// Seconds of the next task for a rank.
  const auto take = [&](int rank) {
    const long task = queue.take(rank);
    const double seconds = tasks[task].work + (queue.begin(rank, task) ? tasks[task].preparation : 0);
    schedule.busy += seconds;
    return seconds;
  };
  double served = 0;          // when the root can look at another message
  std::queue<Event> waiting;  // messages at the root
  while (!events.empty() || !waiting.empty()) {
    const double start = waiting.empty() ? 0 : std::max(waiting.front().time, served);
    const bool serves = !waiting.empty() && (events.empty() || start < events.top().time ||
                                             (start == events.top().time && events.top().at_root));
    if (!serves) {
      const Event event = events.top();
      events.pop();
      if (event.at_root) {
        waiting.push(event);
        continue;
      }
      if (queue.left() == 0) continue;
      const double end = event.time + take(0);
      schedule.makespan = std::max(schedule.makespan, end);
      events.push({end, false, 0, false});
      continue;
    }
    const Event event = waiting.front();
    waiting.pop();
    served = start + overheads.serve;
    Worker& worker = workers[event.rank];
    ++worker.asked;
    if (event.result) {
      --worker.busy;
      schedule.makespan = std::max(schedule.makespan, served);
    }
    while (worker.asked > 0 && queue.left() > 0 && (worker.busy == 0 || queue.enough_for_all())) {
      worker.free = std::max(worker.free, served + overheads.message) + take(event.rank);
      events.push({worker.free + overheads.message, true, event.rank, true});
      ++worker.busy;
      --worker.asked;
    }
  }
  return schedule;
}

namespace {

using Clock = std::chrono::steady_clock;

// Assumed, not measured here: a pipelined broadcast at half of what a 100 Gbit/s network carries, and, with a single
// rank, what bench_ranks measured for messages between ranks of one node (analysis/benchmarks.md).
constexpr double broadcast_bytes_per_s = 6e9;
constexpr Overheads assumed{.message = 0.5e-3, .serve = 0.055e-3};

/// Program, libraries, MPI and tensors of a chunk of images: what a rank needs beside images and weights [byte].
constexpr double resident_bytes = 150e6;

/// Time of one call, the least of some: other programs on this machine only ever add to it. together: the ranks that
/// all have to make the same number of calls; null for what one does alone.
double seconds_of(const std::function<void()>& action, const Ranks* together = nullptr, int fewest = 1) {
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

/// fixed + each x count [s].
struct Line {
  double fixed = 0, each = 0;
  double operator()(double count) const { return fixed + each * count; }
};

Line line_through(int few, int many, const std::function<void(int)>& action, const Ranks* together = nullptr) {
  action(many);  // memory that later calls find
  const double at_few = seconds_of([&] { action(few); }, together);
  if (many == few) return {0, at_few / few};
  const double at_many = seconds_of([&] { action(many); }, together);
  const double each = std::max(0.0, (at_many - at_few) / (many - few));
  return {std::max(0.0, at_few - each * few), each};
}

/// One variant of a round, in products, as tiles are cut, and in seconds, as they take.
struct Work {
  VariantCost products, seconds;
  double pack = 0;  // [s] per tile
  int images = 0;   // first ones of the split (0: all)
  bool may_stop = false;
};

/// Emulation of one layer on one accelerator.
struct LayerTask {
  double cost = 0;  // see emulation_cost()
  double seconds = 0;
  int image = -1;
};

/// Emulation tasks in the order in which Studies hands them out.
std::vector<TaskTime> in_order(const std::vector<LayerTask>& tasks) {
  std::vector<double> costs;
  std::vector<int> images;
  for (const LayerTask& task : tasks) {
    costs.push_back(task.cost);
    images.push_back(task.image);
  }
  std::vector<TaskTime> times;
  for (const std::size_t i : emulation_order(costs, images, std::numeric_limits<double>::infinity()))
    times.push_back({tasks[i].seconds, 0, {costs[i]}});
  return times;
}

/// What one model costs [s].
struct Costs {
  std::string name, data;
  int layers = 0;  // with weights
  int calibration_images = 0, search_images = 0, test_images = 0, emulated_images = 0;
  double image_bytes = 0, weights = 0;
  double import = 0;
  Line read, calibrate, run_float;                             // per image; read: of one rank for itself
  bool shared_reading = false;                                 // every rank reads what it works on
  bool holds = false;                                          // the backend wants all that are searched on
  double quantize_reference = 0;                               // all layers
  double small_weights = 0;                                    // share of the weights that every rank quantizes
  double quantize_candidates = 0;                              // all layers in all formats
  std::vector<LayerTask> search_costs;                         // emulation of what is minimised
  double keys = 0;                                             // per byte of images
  Work reference, everything;                                  // per image
  VariantCost in_float;                                        // products
  std::vector<Work> alone;                                     // (layers): one layer changed
  double observe = 0;                                          // inputs of all layers, per image
  std::vector<LayerTask> emulation_once, emulation_per_image;  // of one basis
};

Costs measure(const Ranks& ranks, const Inputs& inputs, Backend& backend, StepCounter* step_counter,
              const Config& config, const Config::Model& model, const std::vector<Accelerator>& accelerators,
              bool emulation) {
  Costs costs;
  costs.name = model.name;
  costs.data = model.data;
  Progress progress(ranks.root(), model.name + ": measure", 6);
  const Dataset data = Dataset::load(model.data);
  Network network;
  // more than once: the first call gets memory that a virtual machine has to be given first
  costs.import = seconds_of([&] { network = inputs.network(model.onnx); }, &ranks, 2);
  network.name = model.name;
  const std::vector<float> table = data.input_table();
  const auto count_of = [&](const std::string& split, int limit) {
    return limit > 0 ? limit : inputs.images(data, split, 0, network)->count;
  };
  costs.calibration_images = count_of(config.calibration.split, config.calibration.images);
  costs.search_images = count_of(config.search.split, config.search.images);
  costs.test_images = count_of(config.search.test_split, config.search.test_images);
  costs.emulated_images = count_of(config.emulation.split, config.emulation.images);
  const std::vector<int> layers = weighted_layers(network);
  costs.layers = int(layers.size());
  costs.image_bytes = double(network.input().size());

  // a chunk of images for every thread; see choose_chunk() of the CPU backend
  const int threads = thread_count(), wanted = 16 * threads;
  const int available = inputs.images(data, config.search.split, 16 * wanted, network)->count;
  costs.shared_reading = data.reads_anywhere();
  costs.holds = backend.can_hold();
  costs.read = line_through(
      1, std::max(2, available),
      [&](int n) {
        const auto read = inputs.images(data, config.search.split, n, network, std::uint64_t(config.seed));
        read->pixels(0, read->count);
      },
      &ranks);
  const auto shared_images = inputs.images(data, config.search.split, wanted, network);
  const int count = shared_images->count;
  const std::uint8_t* const bytes = shared_images->pixels(0, count).data();
  progress.update(1);

  const std::vector<float> pixels = preprocess(*shared_images, table, 0, count);
  const auto some = [&](int n) { return std::span(pixels).first(n * network.input().size()); };
  const int few = std::max(1, std::min(threads, count / 2));
  Calibration calibration;
  const auto calibrate_on = [&](int n) {
    calibration = calibrate(network, some(n), n, config.calibration.method, config.calibration.percentile);
  };
  constexpr double enough = 0.5;  // [s]; with two images what they cost is lost in the noise
  const double wanted_images = enough / seconds_of([&] { calibrate_on(few); }) * few;
  const int many = std::min(count, std::max(2 * few, int(std::min(wanted_images, double(count)))));
  costs.calibrate = line_through(few, many, calibrate_on);
  std::optional<FloatNetwork> prepared;
  costs.run_float.fixed = seconds_of([&] { prepared.emplace(network); });
  const int in_float = std::min(4 * threads, count);  // as many as share a reading of the weights on every thread
  costs.run_float.each = seconds_of([&] { prepared->run(some(in_float), in_float); }) / in_float;
  progress.update(2);

  const Quantizer quantizer = quantizer_of(backend);
  IntegerNetwork integer;
  costs.quantize_reference =
      seconds_of([&] { integer = make_integer(network, calibration, config.reference, table, quantizer); });
  for (const int layer : layers) {
    const std::size_t size = integer.weights[layer].values.size();
    costs.weights += double(size);
    if (size < fewest_shared_weights) costs.small_weights += double(size);
  }
  costs.small_weights /= costs.weights;
  // formats differ, filters of one length hardly: a part of the largest layer stands for all
  int largest = layers[0];
  for (const int layer : layers) {
    if (integer.weights[layer].values.size() > integer.weights[largest].values.size()) largest = layer;
  }
  const auto& convolution = std::get<Convolution>(network.layers[largest].operation);
  const std::size_t length = convolution.weights.size() / convolution.filters;
  const int filters = std::clamp(int((std::size_t(1) << 19) / length), 1, convolution.filters);
  const std::span part = std::span(convolution.weights).first(filters * length);
  std::vector<WeightFormat> formats = config.search.candidates;
  formats.insert(formats.end(), config.search.pruned.begin(), config.search.pruned.end());
  for (const WeightFormat& format : formats) {
    costs.quantize_candidates +=
        seconds_of([&] { quantizer(part, filters, format, {}); }) / double(part.size()) * costs.weights;
  }
  progress.update(3);

  // layers changed to weights of the same kind: what they are does not change the time
  std::vector<std::shared_ptr<const QuantizedWeights>> other(network.layers.size());
  Variant everything, everything_again;
  for (const int layer : layers) {
    other[layer] = std::make_shared<const QuantizedWeights>(integer.weights[layer]);
    everything.push_back({layer, other[layer]});
    everything_again.push_back({layer, std::make_shared<const QuantizedWeights>(integer.weights[layer])});
  }
  backend.load(integer);
  const auto evaluate = [&](const std::vector<Variant>& variants, int n) {
    std::vector<float> logits(variants.size() * n * network.classes());
    backend.evaluate({bytes, n}, variants, logits);
  };
  evaluate({everything}, count);
  const double whole = seconds_of([&] { evaluate({{}}, count); }) / count;
  // weights of the call before are prepared already, so in turn
  const auto prepare = [&] {
    std::swap(everything, everything_again);
    evaluate({everything}, 0);
  };
  const double pack = seconds_of(prepare, nullptr, 3);
  const double of_reference = variant_cost(network, {}).shared;
  costs.in_float = float_cost(network);
  costs.reference = {variant_cost(network, {}), {0, whole}, 0};
  costs.everything = {variant_cost(network, everything), {whole, 0}, pack};
  // time of what follows from a layer on, by its products: measured at some layers, straight in between
  std::map<double, double> suffix = {{0, 0}, {of_reference, whole}};
  constexpr int measured_layers = 4;
  for (int i = 1; i <= measured_layers; ++i) {
    const int layer = layers[(costs.layers - 1) * i / measured_layers];
    const Variant alone = {{layer, other[layer]}};
    const double once = seconds_of([&] { evaluate({alone}, count); });
    const double thrice = seconds_of([&] { evaluate({alone, alone, alone}, count); });
    suffix[variant_cost(network, alone).own] = std::clamp((thrice - once) / 2 / count, 0.0, whole);
  }
  const auto seconds_for = [&](double products) {
    const auto above = suffix.lower_bound(products);
    if (above == suffix.end()) return whole;
    if (above == suffix.begin()) return 0.0;
    const auto below = std::prev(above);
    return below->second + (above->second - below->second) * (products - below->first) / (above->first - below->first);
  };
  for (const int layer : layers) {
    const VariantCost products = variant_cost(network, {{layer, other[layer]}});
    costs.alone.push_back({products,
                           {seconds_for(products.own), whole - seconds_for(of_reference - products.shared)},
                           pack * double(other[layer]->values.size()) / costs.weights});
  }
  progress.update(4);

  const std::span<const std::uint8_t> all_bytes = shared_images->pixels(0, count);
  costs.keys = seconds_of([&] { KeyBuilder().add(all_bytes).key(); }) / double(all_bytes.size());
  std::vector<std::vector<std::int16_t>> activations;
  costs.observe = seconds_of([&] {
    activations.clear();
    backend.observe_inputs({bytes, 1}, {}, [&](int, int, std::span<const std::int16_t> values) {
      activations.emplace_back(values.begin(), values.end());
    });
  });
  const auto emulated = [&](const Accelerator& accelerator, int i, const QuantizedWeights& weights) {
    const int input = network.layers[layers[i]].inputs[0];
    emulate(accelerator,
            {layer_geometry(network, layers[i]), weights.values, weights.format, activations[i], 8,
             integer.formats[input].is_signed},
            step_counter);
  };
  std::set<const DesignInfo*> searched;
  for (const Accelerator& accelerator : accelerators) {
    const bool own_weights = accelerator.design->name == "bitcluster";
    const bool other_weights =
        own_weights || (accelerator.design->name == "pragmatic_weights" && !config.search.pruned.empty());
    // the first of its design is what a search minimises the costs of
    const bool has_costs = other_weights && searched.insert(accelerator.design).second;
    if (!emulation && !has_costs) continue;
    // some layers stand for all, by products
    double seconds = 0, products = 0;
    const int step = std::max(1, costs.layers / 6);
    for (int i = step / 2; i < costs.layers; i += step) {
      if (other[layers[i]]->values.size() > (std::size_t(1) << 23)) continue;  // takes too long to measure
      QuantizedWeights weights = *other[layers[i]];
      if (own_weights) weights = quantize_layer(integer, layers[i], config.search.candidates.back(), quantizer);
      const Clock::time_point start = Clock::now();
      emulated(accelerator, i, weights);
      seconds += std::chrono::duration<double>(Clock::now() - start).count();
      products += double(multiply_accumulates(network, layers[i]));
    }
    const bool looks = accelerator.design->looks_at_activations();
    for (int i = 0; i < costs.layers; ++i) {
      const double own = double(multiply_accumulates(network, layers[i]));
      const LayerTask task{emulation_cost(accelerator, own), seconds * own / std::max(1.0, products)};
      // M-BC and L-BC; integer and BitPruner
      std::vector<LayerTask>& emulated_tasks = looks ? costs.emulation_per_image : costs.emulation_once;
      if (emulation) emulated_tasks.insert(emulated_tasks.end(), other_weights ? 2 : 1, task);
      if (!has_costs) continue;
      costs.search_costs.insert(costs.search_costs.end(),
                                own_weights ? config.search.candidates.size() : config.search.pruned.size(), task);
    }
  }
  progress.update(6);
  return costs;
}

/// What the searches of one model have scored in a round.
struct Round {
  std::vector<Work> variants;
  int images = 0;  // of the split
};

/// The tiles of what all searches have scored at once on these ranks. images: of all tiles of a model, added up.
std::vector<TaskTime> tile_times(const std::vector<Round>& rounds, int ranks, std::vector<double>& images) {
  std::vector<Demand> demands;
  std::vector<std::vector<VariantCost>> seconds;
  for (const auto& [variants, of_split] : rounds) {
    Demand& demand = demands.emplace_back();
    std::vector<VariantCost>& of_round = seconds.emplace_back();
    demand.images = of_split;
    demand.known.resize(variants.size() * std::size_t((of_split + block_images - 1) / block_images));
    for (const Work& work : variants) {
      demand.costs.push_back(work.products);
      demand.extents.push_back({work.images > 0 ? std::min(work.images, of_split) : of_split, work.may_stop});
      of_round.push_back(work.seconds);
    }
  }
  std::vector<TaskTime> tasks;
  for (const Tile& tile : cut(demands, ranks, thread_count())) {
    double pack = 0;
    for (const int variant : tile.variants) pack += rounds[tile.demand].variants[variant].pack;
    images[tile.demand] += tile.images;
    tasks.push_back(
        {cost_of(seconds[tile.demand], tile.variants) * tile.images, pack, {tile.cost, tile.kind, tile.demand}});
  }
  return tasks;
}

struct Prediction {
  double serial = 0;  // every rank does it, or waits for it [s]
  double baseline = 0, first = 0, probes = 0,
         test = 0;   // distributed [s]; costs with the baseline, emulation with the test
  double bytes = 0;  // of one rank
  long tasks = 0;
  double wall() const { return serial + baseline + first + probes + test; }
};

/// Of models that are studied side by side.
Prediction predict(std::span<const Costs> models, const Config& config, int bases, int ranks,
                   const Overheads& overheads) {
  Prediction result;
  const double several = ranks > 1;
  const auto distribute = [&](double& wall, const std::vector<TaskTime>& tasks, double result_bytes) {
    wall += simulate(tasks, ranks, overheads).makespan;
    result.tasks += long(tasks.size());
    result.serial += several * result_bytes / broadcast_bytes_per_s;
  };
  std::vector<double> worked_on(models.size());  // images, tile by tile, since they were read last
  /// others: begun before.
  const auto score = [&](double& wall, const std::vector<Round>& rounds, const std::vector<LayerTask>& others = {}) {
    double results = double(others.size()) * sizeof(LayerEmulation);
    for (const Round& round : rounds) results += double(round.variants.size()) * round.images * sizeof(ImageScore);
    std::vector<TaskTime> tasks = in_order(others);
    const std::vector<TaskTime> tiles = tile_times(rounds, ranks, worked_on);
    tasks.insert(tasks.end(), tiles.begin(), tiles.end());
    distribute(wall, tasks, results);
  };
  /// What one rank reads, or the root for all, and what it then holds [byte].
  const auto read = [&](const Costs& costs, double images, bool alone) {
    result.serial += costs.read(images) + (alone ? 0 : several * images * costs.image_bytes / broadcast_bytes_per_s);
    return images * costs.image_bytes;
  };
  /// Models with the same images read them once. A rank reads those that it has a part in naming and those of its
  /// tiles, at worst others in every tile. What it holds of them [byte]; whole huge pages are about twice as much.
  const auto read_once = [&](int Costs::*images, bool held_at_once) {
    std::map<std::string, double> of_tiles;
    double held = 0;
    for (std::size_t i = 0; i < models.size(); ++i) of_tiles[models[i].data] += std::exchange(worked_on[i], 0);
    for (const Costs& costs : models) {
      const auto found = of_tiles.find(costs.data);
      if (found == of_tiles.end()) continue;
      const double all = costs.*images, share = all / ranks;
      const bool partly = costs.shared_reading && !(held_at_once && costs.holds);
      const double own = partly ? std::min(all, share + found->second / ranks) : all;
      held += std::min(all * costs.image_bytes, (partly ? 2 : 1) * read(costs, own, costs.shared_reading));
      result.serial += share * costs.image_bytes * costs.keys;
      of_tiles.erase(found);
    }
    return held;
  };
  const auto float_rounds = [&](int Costs::*images) {
    std::vector<Round> rounds;
    for (const Costs& costs : models) {
      rounds.push_back({{Work{costs.in_float, {0, costs.run_float.each}, costs.run_float.fixed}}, costs.*images});
    }
    return rounds;
  };
  const Config::SearchOptions& search = config.search;  // its numbers of rounds are upper bounds
  const std::size_t formats = search.candidates.size() + search.pruned.size();

  for (const Costs& costs : models) {
    result.serial += costs.import;
    const double share = costs.shared_reading ? double(costs.calibration_images) / ranks : costs.calibration_images;
    read(costs, share, costs.shared_reading);
    result.serial += costs.calibrate((costs.calibration_images + ranks - 1) / ranks);
    // every rank does some filters of the large layers and gets the rest; the reference twice, for the terms in /layers
    const double quantize = 2 * costs.quantize_reference + costs.quantize_candidates;
    result.serial += quantize * (costs.small_weights + (1 - costs.small_weights) / ranks) +
                     several * double(2 + formats) * costs.weights * sizeof(std::int16_t) / broadcast_bytes_per_s;
    // on the root: names of all weights
    result.serial += costs.keys * costs.weights * double(2 * sizeof(float) + (1 + formats) * sizeof(std::int16_t));
  }
  std::vector<LayerTask> cost_tasks;
  std::vector<Round> first, probes;
  for (const Costs& costs : models) {
    cost_tasks.insert(cost_tasks.end(), costs.search_costs.begin(), costs.search_costs.end());
    Work probe = costs.everything;
    probe.may_stop = search.early_stop;
    // both searches of a model are scored as one
    Round& round = first.emplace_back();
    round.images = costs.search_images;
    round.variants.assign(formats, probe);
    round.variants.push_back(costs.reference);
    for (Work alone : costs.alone) {
      alone.images = search.sensitivity_images;
      round.variants.insert(round.variants.end(), formats, alone);
    }
    const std::size_t searches = search.pruned.empty() ? 1 : 2;
    probes.push_back({std::vector<Work>(searches * search.probes, probe), costs.search_images});
  }
  score(result.baseline, float_rounds(&Costs::search_images), cost_tasks);
  score(result.first, first);
  for (int round = 0; round < search.choice_rounds + search.refine_rounds; ++round) score(result.probes, probes);
  const double held_in_search = read_once(&Costs::search_images, true);

  std::vector<Round> tested = float_rounds(&Costs::test_images);
  for (const Costs& costs : models) {
    Round& round = tested.emplace_back();
    round.images = costs.test_images;
    round.variants.assign(search.pruned.empty() ? 2 : 3, costs.everything);
    round.variants.push_back(costs.reference);
  }
  worked_on.resize(tested.size());
  // a rank that comes to an image computes its activations
  std::vector<LayerTask> emulated;
  for (const Costs& costs : models) {
    const double count = bases * double(costs.emulation_per_image.size());
    const double observe = costs.observe * std::min(double(ranks), count) / std::max(1.0, count);
    for (int basis = 0; basis < bases; ++basis) {
      emulated.insert(emulated.end(), costs.emulation_once.begin(), costs.emulation_once.end());
      for (int image = 0; image < costs.emulated_images; ++image) {
        for (const LayerTask& task : costs.emulation_per_image) {
          emulated.push_back({task.cost, task.seconds + observe, image});
        }
      }
    }
  }
  score(result.test, tested, emulated);
  for (std::size_t i = models.size(); i < worked_on.size(); ++i) worked_on[i - models.size()] += worked_on[i];
  const double held_in_test = read_once(&Costs::test_images, false);

  // float, int16 of the reference and of all candidates, packed reference, float network and assignment of the last
  // tile; images, once for models that share them, and those under way in float32
  double in_float = 0;
  result.bytes = resident_bytes;
  for (const Costs& costs : models) {
    result.bytes += (4 + 2 + 2 * double(formats) + 1 + 4 + 1) * costs.weights;
    const int calibration_images = (costs.calibration_images + ranks - 1) / ranks;
    in_float = std::max(in_float, sizeof(float) * costs.image_bytes *
                                      std::max(calibration_images, float_images_per_thread * thread_count()));
  }
  result.bytes += std::max(held_in_search, held_in_test) + in_float;
  return result;
}

Overheads measure_overheads(const Ranks& ranks) {
  if (ranks.size() == 1) return assumed;
  constexpr long tasks = 2000;
  const auto empty = [](long) { return Payload(); };
  const double seconds = seconds_of([&] { ranks.distribute({tasks, empty, {}, {}, {}, {}}); }, &ranks);
  return {assumed.message, seconds / double(tasks)};
}

void print_row(const std::string& name, int ranks, double one_rank, const Prediction& prediction, int ranks_per_node) {
  const Prediction& p = prediction;
  std::printf("%-12s %6d %11.1f %6.1f %8.1f %9.1f %9.1f %9.1f %9.1f %8ld %8.2f %8.1f\n", name.c_str(), ranks, p.wall(),
              100 * one_rank / (ranks * p.wall()), p.serial, p.baseline, p.first, p.probes, p.test, p.tasks,
              p.bytes * 1e-9, p.bytes * 1e-9 * std::min(ranks, ranks_per_node));
}

}  // namespace

void plan(const Ranks& ranks, const Config& config, const std::vector<Accelerator>& accelerators, int bases,
          const std::string& backend, const std::vector<int>& rank_counts) {
  const Engine engine = make_engine(ranks, backend);
  const Inputs inputs(ranks, engine.gpus.get());
  std::vector<Costs> models;
  for (const Config::Model& model : config.models) {
    models.push_back(
        measure(ranks, inputs, *engine.backends[0], engine.step_counter.get(), config, model, accelerators, bases > 0));
  }
  const Overheads overheads = measure_overheads(ranks);
  if (!ranks.root()) return;
  const int ranks_per_node = std::max(1, omp_get_num_procs() / thread_count());
  std::printf("Costs measured on %s: %s\n", ranks.host().c_str(), engine.backends[0]->description().c_str());
  std::printf(
      "Assumed: %.2f ms for a message between ranks, %.3f ms of the root per task (%s), broadcasts at %.0f GB/s,\n"
      "files in memory; all rounds of the search with all their assignments; %d ranks per node. Models run side by "
      "side;\n"
      "efficiency is against one rank. Serial: what all ranks do or wait for; float: with emulation for the costs of\n"
      "candidates; first: uniform and single layers; test: float, integer, and all emulation.\n\n",
      1e3 * overheads.message, 1e3 * overheads.serve,
      ranks.size() > 1 ? "the latter measured now" : "see analysis/benchmarks.md", 1e-9 * broadcast_bytes_per_s,
      ranks_per_node);
  std::printf("%-12s %6s %11s %6s %8s %9s %9s %9s %9s %8s %8s %8s\n", "model", "ranks", "wall s", "eff. %", "serial",
              "float", "first", "probes", "test", "tasks", "GB/rank", "GB/node");
  for (const Costs& costs : models) {
    const Prediction alone = predict(std::span(&costs, 1), config, bases, 1, overheads);
    print_row(costs.name, 1, alone.wall(), alone, ranks_per_node);
  }
  const double one_rank = predict(models, config, bases, 1, overheads).wall();
  for (const int count : rank_counts) {
    print_row("all", count, one_rank, predict(models, config, bases, count, overheads), ranks_per_node);
  }
}

}  // namespace bitcluster
