#include "harness/program/commands.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <span>

#include "harness/journal/journal.hpp"
#include "harness/plan/plan.hpp"
#include "harness/program/version.hpp"
#include "harness/ranks/devices.hpp"
#include "harness/ranks/interruption.hpp"
#include "harness/ranks/progress.hpp"
#include "harness/ranks/shared_inputs.hpp"
#include "harness/scoring/evaluator.hpp"
#include "harness/study/config.hpp"
#include "harness/study/rows.hpp"
#include "harness/study/study_run.hpp"
#include "host/base/error.hpp"
#include "host/base/parallel.hpp"
#include "host/data/trace.hpp"
#include "host/emulation/design.hpp"
#include "host/emulation/shift_and_add.hpp"
#include "host/onnx/import.hpp"
#include "host/results/file.hpp"
#include "host/results/summary.hpp"

namespace bitcluster {
namespace {

std::string now() {
  const std::time_t time = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&time));
  return text;
}

Results start_results(const Ranks& ranks, const std::string& output, const std::string& backend) {
  if (ranks.root() && !output.empty()) check_writable(output);
  Results results;
  results.provenance.program_version = program_version;
  results.provenance.git_commit = git_commit;
  results.provenance.date = now();
  results.provenance.ranks = ranks.size();
  results.provenance.devices = ranks.gather(ranks.host() + ": " + backend);
  return results;
}

void finish_results(const Ranks& ranks, const std::string& output, const Results& results) {
  if (ranks.root() && !output.empty()) write_results(output, results);
}

std::vector<Accelerator> load_accelerators(const std::vector<std::string>& files) {
  std::vector<Accelerator> accelerators;
  std::set<std::string> names;  // tables tell accelerators apart by them
  for (const std::string& file : files) {
    accelerators.push_back(load_accelerator(file));
    if (!names.insert(accelerators.back().name).second) {
      throw Error("'" + file + "': name", "another accelerator is named '" + accelerators.back().name + "', too",
                  "give every accelerator its own name");
    }
  }
  return accelerators;
}

/// As their files describe them, and resized to the array area of the first BitCluster design.
std::vector<Basis> compared_arrays(const Config::EmulationOptions& options) {
  std::vector<Basis> bases = {{throughput_basis, load_accelerators(options.accelerators)}};
  const std::vector<Accelerator> given = bases[0].accelerators;
  const auto bitcluster = std::find_if(given.begin(), given.end(), [](const Accelerator& accelerator) {
    return accelerator.design->name == "bitcluster";
  });
  if (!options.equal_area || bitcluster == given.end()) return bases;
  bases.push_back({area_basis, {}});
  for (const Accelerator& accelerator : given) {
    bases[1].accelerators.push_back(fit_area(accelerator, bitcluster->array_mm2()));
  }
  return bases;
}

/// What a command leaves in its results file.
struct Stages {
  bool search, emulation;
};

/// Whether the output of such a command with this config is there, complete and by this program.
bool is_complete(const StudyOptions& options, const Config& config, Stages stages) {
  if (!std::filesystem::exists(options.output) || std::filesystem::exists(Journal::path_of(options.output))) {
    return false;
  }
  const Results results = read_results(options.output);
  const bool same_models = std::ranges::equal(models_of(results), config.models, {}, {}, &Config::Model::name);
  return same_models && results.provenance.config == config.text && results.provenance.git_commit == git_commit &&
         results.provenance.program_version == program_version && results.evaluations.rows.empty() != stages.search &&
         results.emulation.rows.empty() != stages.emulation;
}

/// Runs `steps` on the chosen models of the config and writes the results.
void study_models(const Ranks& ranks, const StudyOptions& options, Stages stages,
                  const std::function<void(Studies&, const std::vector<Basis>&)>& steps) {
  Config config = load_config(options.config);
  select_models(config, options.models);
  const std::vector<Basis> bases = compared_arrays(config.emulation);
  if (stages.emulation && bases[0].accelerators.empty()) {
    throw Error("'" + config.path + "': nothing can be emulated", "it names no accelerator",
                "list TOML files under accelerators in [emulation]");
  }
  if (!options.plan.empty()) {
    plan(ranks, config, bases[0].accelerators, stages.emulation ? int(bases.size()) : 0, options.backend, options.plan);
    return;
  }
  std::byte complete{0};
  ranks.on_root([&] { complete = std::byte(options.resume && is_complete(options, config, stages)); });
  ranks.broadcast(std::span(&complete, 1));
  if (complete != std::byte(0)) {
    if (!ranks.root()) return;
    std::fprintf(stderr, "bitcluster: '%s' is complete already\n", options.output.c_str());
    std::fputs(format_summary(read_results(options.output), TableFormat::text).c_str(), stdout);
    return;
  }
  const Engine engine = make_engine(ranks, options.backend, int(config.models.size()));
  const Inputs inputs(ranks, engine.gpus.get());
  // all models, to find bad input before the long work
  std::vector<Network> networks;
  {
    Progress progress(ranks.root(), "import", long(config.models.size()));
    for (const Config::Model& model : config.models) {
      networks.push_back(inputs.network(model.onnx));
      Dataset::load(model.data);
      progress.update(long(networks.size()));
    }
  }
  Results results = start_results(ranks, options.output, engine.backends[0]->description());
  results.provenance.config = config.text;
  results.provenance.seed = config.seed;
  for (const Basis& basis : bases) add_accelerators(basis.name, basis.accelerators, results);
  std::unique_ptr<Journal> journal;
  ranks.on_root([&] {
    journal = std::make_unique<Journal>(options.output, std::string(program_version) + " (" + git_commit + ")",
                                        options.resume);
    if (journal->found_at_start() > 0) {
      std::fprintf(stderr, "bitcluster: going on with '%s': %zu results are known\n", options.output.c_str(),
                   journal->found_at_start());
    }
  });
  catch_interruptions();
  Evaluator evaluator(ranks, journal.get());
  Studies studies(inputs, evaluator, engine, config, std::move(networks));
  steps(studies, bases);
  studies.append_to(results);
  summarize(results, config.search.test_split);
  finish_results(ranks, options.output, results);
  if (journal) journal->finish();
  if (ranks.root()) std::fputs(format_summary(results, TableFormat::text).c_str(), stdout);
}

}  // namespace

void inspect(const Ranks& ranks, const InspectOptions& options) {
  const Network network = import_onnx(options.model);
  Results results = start_results(ranks, options.output, "no backend");
  add_layers(network.name, network, results);
  finish_results(ranks, options.output, results);
  if (!ranks.root()) return;
  const Shape& input = network.input();
  std::printf("%s: input %d x %d x %d, %d classes\n\n", network.name.c_str(), input.channels, input.height, input.width,
              network.classes());
  std::printf("%-40s %-5s %15s %7s %6s %10s %11s %13s %12s\n", "layer", "kind", "filters", "kernel", "groups", "output",
              "weights", "MAC", "binary terms");
  std::int64_t weights = 0, macs = 0;
  const Table& layers = results.layers;
  for (std::size_t row = 0; row < layers.rows.size(); ++row) {
    const auto number = [&](const char* column) { return long(layers.number(row, column)); };
    const std::string filters = std::to_string(number("channels")) + " -> " + std::to_string(number("filters"));
    const std::string kernel = std::to_string(number("kernel_h")) + "x" + std::to_string(number("kernel_w"));
    const std::string output = std::to_string(number("output_h")) + "x" + std::to_string(number("output_w"));
    std::printf("%-40s %-5s %15s %7s %6ld %10s %11ld %13ld %12.3f\n", layers.text(row, "layer").c_str(),
                layers.text(row, "kind").c_str(), filters.c_str(), kernel.c_str(), number("groups"), output.c_str(),
                number("weights"), number("macs"), layers.number(row, "binary_terms_mean"));
    weights += number("weights");
    macs += number("macs");
  }
  std::printf("\n%zu layers with weights, %lld weights, %lld multiply-accumulates per image\n", layers.rows.size(),
              static_cast<long long>(weights), static_cast<long long>(macs));
}

void evaluate(const Ranks& ranks, const EvaluateOptions& options) {
  if (options.weights == "bitcluster" && options.format.terms == 0) {
    throw Error("--weights bitcluster", "the number of terms is missing", "add --terms N");
  }
  const Engine engine = make_engine(ranks, options.backend);
  const Inputs inputs(ranks, engine.gpus.get());
  const Network network = inputs.network(options.model);
  const Dataset data = Dataset::load(options.data);
  const std::vector<float> input_table = data.input_table();
  const auto images = inputs.images(data, options.split, options.images, network);
  Backend& backend = *engine.backends[0];
  Results results = start_results(ranks, options.output, backend.description());
  Evaluator evaluator(ranks, nullptr);

  std::vector<ImageScore> scores;
  double seconds = 0, terms = 0;
  std::string encoding;
  if (ranks.size() == 1) images->pixels(0, images->count);  // not to be timed
  const std::string label = network.name + ": " + options.weights + ", " + options.split + " split";
  const auto timed = [&](const Batch& batch) {
    const auto start = std::chrono::steady_clock::now();
    BatchResult result = evaluator.work_on(batch, label);
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
  };
  if (options.weights == "float") {
    scores = timed({.floats = {{network, images, input_table}}}).floats[0];
  } else {
    if (ranks.root() && data.overlap("calibration", options.split)) {
      std::fprintf(
          stderr,
          "bitcluster: warning: split '%s' shares images with 'calibration', which chooses the activation scales: "
          "this accuracy is not an independent measurement\n",
          options.split.c_str());
    }
    const auto seen = inputs.images(data, "calibration", 0, network);
    const Calibration calibration = calibrate(network, preprocess(*seen, input_table, 0, seen->count), seen->count,
                                              calibration_method_from_string(options.calibration), 99.99);
    WeightFormat reference;
    reference.bits = options.format.bits;
    const Quantizer quantizer = quantizer_of(backend);
    const auto integer =
        std::make_shared<const IntegerNetwork>(make_integer(network, calibration, reference, input_table, quantizer));
    Variant variant;
    double weights = 0;
    for (const int layer : weighted_layers(network)) {
      const QuantizedWeights* used = &integer->weights[layer];
      if (options.weights == "bitcluster") {
        variant.push_back({layer, std::make_shared<const QuantizedWeights>(
                                      quantize_layer(*integer, layer, options.format, quantizer))});
        used = variant.back().weights.get();
      }
      terms += mean_terms(*used) * double(used->values.size());
      weights += double(used->values.size());
    }
    terms /= weights;
    encoding = to_string(options.format.encoding);
    backend.load(*integer);
    scores = timed({.requests = {{backend, integer, images, {variant}}}}).scores[0][0];
  }
  const Accuracy accuracy = summarize(scores);
  const double unknown =
      std::numeric_limits<double>::quiet_NaN();  // no float scores of the same images to compare with
  results.evaluations.add({network.name, options.weights, options.weights, encoding, terms, options.split,
                           std::int64_t(accuracy.images), accuracy.top1, accuracy.top5, accuracy.cross_entropy, unknown,
                           unknown, unknown, seconds});
  finish_results(ranks, options.output, results);
  if (!ranks.root()) return;
  std::printf("%s, %s weights", network.name.c_str(), options.weights.c_str());
  if (options.weights != "float") std::printf(" (%.3f %s terms each)", terms, encoding.c_str());
  std::printf(", split %s, %d images: top-1 %.2f %%, top-5 %.2f %%, cross entropy %.4f nat, %.1f images/s\n",
              options.split.c_str(), accuracy.images, 100 * accuracy.top1, 100 * accuracy.top5, accuracy.cross_entropy,
              accuracy.images / seconds);
}

void search(const Ranks& ranks, const StudyOptions& options) {
  study_models(ranks, options, {true, false}, [](Studies& studies, const std::vector<Basis>& bases) {
    studies.search(bases[0].accelerators);
    studies.conclude(true, {});
  });
}

void emulate(const Ranks& ranks, const StudyOptions& options) {
  study_models(ranks, options, {false, true}, [](Studies& studies, const std::vector<Basis>& bases) {
    studies.assign_uniformly();
    studies.conclude(false, bases);
  });
}

/// Error if the design's own arithmetic does not give the convolution, or takes other cycles than were counted. Nothing
/// is checked where there is no such arithmetic, or there are no activations to do it on.
void check_function(const Accelerator& accelerator, const LayerTensors& layer, const LayerEmulation& emulation) {
  if (!has_arithmetic(accelerator) || layer.activations.empty()) return;
  const LayerFunction function = emulate_function(accelerator, layer);
  const bool right_sums = function.sums == convolve(layer);
  if (right_sums && function.compute_cycles == emulation.compute_cycles) return;
  throw Error("layer '" + layer.geometry.name + "' on " + accelerator.name,
              right_sums ? "functional mode took " + std::to_string(function.compute_cycles) + " cycles where " +
                               std::to_string(emulation.compute_cycles) + " were counted"
                         : "the sums of functional mode are not the convolution's",
              "report this as an error of the emulator, with the trace");
}

void emulate_trace(const Ranks& ranks, const TraceOptions& options) {
  const std::vector<Accelerator> accelerators = load_accelerators(options.designs);
  const Engine engine = make_engine(ranks, options.backend);
  Results results = start_results(ranks, options.output, engine.backends[0]->description());
  Trace trace(options.trace);
  const std::vector<TraceLayer>& layers = trace.layers();
  const std::string name = std::filesystem::path(options.trace).stem().string();

  // in this order consecutive tasks share what is read from the file
  struct Task {
    std::size_t layer;
    int image;
    std::size_t accelerator;
    int images;  // that it stands for
  };
  std::vector<Task> tasks;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const int images = std::max(1, layers[layer].images);
    for (int image = 0; image < images; ++image) {
      for (std::size_t i = 0; i < accelerators.size(); ++i) {
        const Accelerator& accelerator = accelerators[i];
        const bool needs = accelerator.design->needs_activations();
        if (needs && layers[layer].images == 0) {
          throw Error("'" + options.trace + "': layer " + layers[layer].geometry.name,
                      "it has no activations, and " + accelerator.name + " depends on their values",
                      "add the dataset activations, or leave that design out");
        }
        // without a look at activations one image stands for all
        const bool looks = accelerator.design->looks_at_activations();
        if (image == 0 || looks) tasks.push_back({layer, image, i, looks ? 1 : images});
      }
    }
  }
  const auto work = [&](long index) {
    const Task& task = tasks[index];
    const LayerTensors tensors = trace.tensors(int(task.layer), task.image);
    const LayerEmulation emulation = emulate(accelerators[task.accelerator], tensors, engine.step_counter.get());
    if (options.check) check_function(accelerators[task.accelerator], tensors, emulation);
    Payload payload(sizeof emulation);
    std::memcpy(payload.data(), &emulation, sizeof emulation);
    return payload;
  };
  Progress progress(ranks.root(), name + ": emulate", double(tasks.size()));
  const auto payloads =
      ranks.distribute({long(tasks.size()), work, [&](double done) { progress.update(done); }, {}, {}});

  // sums over the images, in their order
  struct Row {
    LayerEmulation sum;
    int images = 0;
  };
  std::vector<Row> rows(accelerators.size() * layers.size());  // (accelerators, layers)
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    Row& row = rows[tasks[i].accelerator * layers.size() + tasks[i].layer];
    LayerEmulation emulation;
    std::memcpy(&emulation, payloads[i].data(), sizeof emulation);
    for (int image = 0; image < tasks[i].images; ++image) row.sum += emulation;
    row.images += tasks[i].images;
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    add_emulation(name, "trace", throughput_basis, accelerators[i / layers.size()],
                  layers[i % layers.size()].geometry.name, rows[i].images, rows[i].sum, results);
  }
  add_accelerators(throughput_basis, accelerators, results);
  summarize(results);
  finish_results(ranks, options.output, results);
  if (ranks.root()) std::fputs(format_summary(results, TableFormat::text).c_str(), stdout);
}

void run(const Ranks& ranks, const StudyOptions& options) {
  study_models(ranks, options, {true, true}, [](Studies& studies, const std::vector<Basis>& bases) {
    studies.search(bases[0].accelerators);
    studies.conclude(true, bases);
  });
}

void list_models(const Ranks& ranks, const std::string& config) {
  if (!ranks.root()) return;
  for (const Config::Model& model : load_config(config).models) std::printf("%s\n", model.name.c_str());
}

void table(const Ranks& ranks, const TableOptions& options) {
  if (!ranks.root()) return;
  const std::vector<std::string>& files = options.results;
  Results results = files.size() == 1 ? read_results(files[0]) : merge_results(files);
  if (files.size() > 1) {
    const std::string& config = results.provenance.config;  // none in results of a trace
    summarize(results, config.empty() ? "test" : parse_config(config, files[0]).search.test_split);
  }
  if (!options.output.empty()) write_results(options.output, results);
  std::fputs(format_summary(results, table_format_from_string(options.format)).c_str(), stdout);
}

}  // namespace bitcluster
