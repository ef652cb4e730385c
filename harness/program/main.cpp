#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <functional>
#include <sstream>
#include <string>
#include <system_error>

#include "harness/program/commands.hpp"
#include "harness/program/version.hpp"
#include "harness/ranks/interruption.hpp"
#include "harness/ranks/ranks.hpp"
#include "host/base/closest.hpp"
#include "host/base/error.hpp"
#include "host/base/parallel.hpp"
#include "host/base/printable.hpp"
#include "host/base/process_settings.hpp"
#include "host/files/posix_file.hpp"

namespace {

using namespace bitcluster;

/// Fills the options and returns the subcommand to run, which still needs the ranks.
struct CommandLine {
  CLI::App app{"BitCluster: benchmark harness for bit-serial CNN accelerators", "bitcluster"};
  int threads = 0;
  InspectOptions inspect_options;
  EvaluateOptions evaluate_options;
  StudyOptions study_options;
  TraceOptions trace_options;
  TableOptions table_options;
  std::string encoding = "binary", rounding = "nearest";
  std::function<void(const Ranks&)> command;

  CommandLine() {
    app.failure_message(explain);
    app.set_version_flag("--version", std::string(program_version) + " (" + git_commit + ")");
    app.require_subcommand(1);
    app.add_option("--threads", threads, "threads per rank (default: the cores of the node, shared by its ranks)")
        ->check(CLI::Range(1, 4096));
    app.fallthrough();
    add_inspect();
    add_evaluate();
    add_study("search", "layerwise search: sensitivity, assignments, checks", search);
    add_emulate();
    add_study("run", "everything the config asks for, then the tables", run);
    add_table();
    add_list_models();
  }

  void add_inspect() {
    CLI::App* sub = app.add_subcommand("inspect", "list the layers of a model");
    sub->add_option("model", inspect_options.model, "MODEL.onnx")->required();
    sub->add_option("-o,--output", inspect_options.output, "results file (HDF5)");
    sub->callback([this] { command = [this](const Ranks& ranks) { inspect(ranks, inspect_options); }; });
  }

  void add_evaluate() {
    EvaluateOptions& options = evaluate_options;
    CLI::App* sub = app.add_subcommand("evaluate", "accuracy of one model with one kind of weights");
    sub->add_option("--model", options.model, "MODEL.onnx")->required();
    sub->add_option("--data", options.data, "DATA.toml")->required();
    sub->add_option("--weights", options.weights, "float: unquantized; integer: all bits; bitcluster: N terms")
        ->check(CLI::IsMember({"float", "integer", "bitcluster"}))
        ->capture_default_str();
    sub->add_option("--terms", options.format.terms, "N of bitcluster weights")->check(CLI::Range(1, 16));
    sub->add_option("--encoding", encoding, "how terms are counted")
        ->check(CLI::IsMember({"binary", "signed_digit"}))
        ->capture_default_str();
    sub->add_option("--bits", options.format.bits, "bits per weight, sign included")
        ->check(CLI::Range(4, 16))
        ->capture_default_str();
    sub->add_flag("--exact", options.format.exact, "only magnitudes with exactly N terms, and zero");
    sub->add_option(
           "--rounding", rounding,
           "nearest: every weight for itself; compensated: those that follow make up for what rounding changes")
        ->check(CLI::IsMember({"nearest", "compensated"}))
        ->capture_default_str();
    sub->add_option("--assignment", options.assignment,
                    "FILE.csv: layer,preparation,bits,encoding,terms[,rounding] of every layer with weights");
    sub->add_option("--calibration", options.calibration, "how activation scales are chosen")
        ->check(CLI::IsMember({"maximum", "percentile", "least_squares", "model"}))
        ->capture_default_str();
    sub->add_option("--percentile", options.percentile, "of --calibration percentile: values left unclipped [%]")
        ->check(CLI::Range(50.0, 100.0));
    sub->add_option("--calibration-split", options.calibration_split, "split that activation scales are chosen on")
        ->capture_default_str();
    sub->add_option("--split", options.split, "split of the data")->capture_default_str();
    sub->add_option("--images", options.images, "only the first so many images of the split (0: all)")
        ->check(CLI::Range(0, 1'000'000'000))
        ->capture_default_str();
    add_backend(sub, options.backend);
    sub->add_option("-o,--output", options.output, "results file (HDF5)");
    sub->callback([this, sub] {
      const std::string& weights = evaluate_options.weights;
      if (!evaluate_options.assignment.empty()) {
        refuse(sub, {"--weights", "--terms", "--encoding", "--exact", "--rounding"},
               "--assignment, which says so by layer");
        evaluate_options.weights = "assignment";
      } else if (weights != "bitcluster") {
        refuse(sub, {"--terms", "--encoding", "--exact"}, "--weights " + weights);
      }
      if (weights == "float") {
        refuse(sub, {"--bits", "--rounding", "--calibration", "--percentile", "--calibration-split"},
               "--weights float");
        if (evaluate_options.backend == "cuda") refuse(sub, {"--backend"}, "--weights float, which the CPU evaluates");
      }
      evaluate_options.format.encoding = encoding_from_string(encoding);
      evaluate_options.format.rounding = rounding_from_string(rounding);
      command = [this](const Ranks& ranks) { evaluate(ranks, evaluate_options); };
    });
  }

  void add_study(const std::string& name, const std::string& description,
                 void (*function)(const Ranks&, const StudyOptions&)) {
    CLI::App* sub = app.add_subcommand(name, description);
    sub->add_option("config", study_options.config, "CONFIG.toml")->required();
    auto* output = sub->add_option("-o,--output", study_options.output, "results file (HDF5)");
    add_backend(sub, study_options.backend);
    add_models(sub);
    auto* assignments = add_assignments(sub);
    auto* resume = add_resume(sub);
    sub->add_option("--plan", study_options.plan, "RANKS[,RANKS...]: only predict time, efficiency and memory on them")
        ->delimiter(',')
        ->check(CLI::Range(1, 1'000'000))
        ->excludes(output)
        ->excludes(assignments)
        ->excludes(resume)
        ->excludes(sub->get_option("--keep-journal"));
    sub->callback([this, function] {
      if (study_options.output.empty() && study_options.plan.empty()) throw CLI::RequiredError("--output");
      command = [this, function](const Ranks& ranks) { function(ranks, study_options); };
    });
  }

  void add_emulate() {
    CLI::App* sub = app.add_subcommand("emulate", "cycles, utilisation and energy of accelerators");
    auto* config = sub->add_option("config", study_options.config, "CONFIG.toml");
    auto* trace =
        sub->add_option("--trace", trace_options.trace, "integer tensors from elsewhere (HDF5)")->excludes(config);
    sub->add_option("--design", trace_options.designs, "ACCELERATOR.toml, for --trace; repeatable")->needs(trace);
    sub->add_flag(
           "--check", trace_options.check,
           "also do every design's own arithmetic: its sums must be the convolution's, its cycles the table's (slow)")
        ->needs(trace);
    sub->add_option("-o,--output", study_options.output, "results file (HDF5)")->required();
    add_backend(sub, study_options.backend);
    add_models(sub)->excludes(trace);
    add_assignments(sub)->excludes(trace);
    add_resume(sub)->excludes(trace);
    sub->get_option("--keep-journal")->excludes(trace);
    sub->callback([this] {
      if (trace_options.trace.empty() == study_options.config.empty()) {
        throw CLI::ValidationError("emulate", "give either CONFIG.toml or --trace FILE.h5 with --design A.toml");
      }
      if (!trace_options.trace.empty() && trace_options.designs.empty()) {
        throw CLI::ValidationError("emulate", "--trace needs at least one --design A.toml");
      }
      trace_options.output = study_options.output;
      trace_options.backend = study_options.backend;
      command = [this](const Ranks& ranks) {
        trace_options.trace.empty() ? emulate(ranks, study_options) : emulate_trace(ranks, trace_options);
      };
    });
  }

  void add_table() {
    CLI::App* sub =
        app.add_subcommand("table", "print the tables of a results file, or of several with other models each");
    sub->add_option("results", table_options.results, "results files (HDF5); several are merged")->required();
    sub->add_option("-o,--output", table_options.output, "write the merged results (HDF5)");
    sub->add_option("--format", table_options.format, "how to print")
        ->check(CLI::IsMember({"text", "markdown", "csv"}))
        ->capture_default_str();
    sub->add_option("--layers", table_options.layers,
                    "instead, the formats of this model's layers; with --format csv as --assignment reads them");
    sub->add_option("--assignment", table_options.assignment, "whose layers")->needs("--layers")->capture_default_str();
    sub->callback([this] {
      refuse(&app, {"--threads"}, "table, which needs one");
      command = [this](const Ranks& ranks) { table(ranks, table_options); };
    });
  }

  void add_list_models() {
    CLI::App* sub = app.add_subcommand("models", "list the models of a config");
    sub->add_option("config", study_options.config, "CONFIG.toml")->required();
    sub->callback([this] {
      refuse(&app, {"--threads"}, "models, which needs one");
      command = [this](const Ranks& ranks) { list_models(ranks, study_options.config); };
    });
  }

  CLI::Option* add_models(CLI::App* sub) {
    return sub->add_option("--model", study_options.models, "only this model of the config; repeatable")
        ->allow_extra_args(false);
  }

  CLI::Option* add_assignments(CLI::App* sub) {
    return sub
        ->add_option("--assignment", study_options.assignments,
                     "[MODEL=]FILE.csv: formats of all layers of a model of the config, see evaluate; repeatable")
        ->allow_extra_args(false);
  }

  CLI::Option* add_resume(CLI::App* sub) {
    sub->add_flag("--keep-journal", study_options.keep_journal,
                  "keep OUT.h5.journal, so that --resume with another config or options reuses what still holds");
    return sub->add_flag("--resume", study_options.resume,
                         "go on with an interrupted run; begins one if there is none");
  }

  /// What CLI11 says of an error, and what a word that it does not know may have meant.
  static std::string explain(const CLI::App* app, const CLI::Error& error) {
    std::string message = CLI::FailureMessage::simple(app, error);
    const auto used = app->get_subcommands();
    for (const std::string& word : app->remaining(true)) {
      std::vector<std::string> names;
      if (word.starts_with("-")) {
        for (const CLI::App* of : {app, used.empty() ? app : static_cast<const CLI::App*>(used[0])}) {
          for (const CLI::Option* option : of->get_options()) names.push_back("--" + option->get_single_name());
        }
      } else if (used.empty()) {
        for (const CLI::App* command : app->get_subcommands({})) names.push_back(command->get_name());
      }
      if (const auto meant = closest(word, names)) message += fmt::format("Did you mean '{}'?\n", *meant);
    }
    return message;
  }

  /// Error if one of these options, which have no effect there, is given.
  static void refuse(const CLI::App* sub, const std::vector<std::string>& options, const std::string& where) {
    for (const std::string& option : options) {
      if (sub->count(option) == 0) continue;
      throw CLI::ValidationError(option, "has no effect with " + where + "; leave it out, or change that");
    }
  }

  static void add_backend(CLI::App* sub, std::string& backend) {
    sub->add_option("--backend", backend, "what evaluates networks")
        ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
        ->capture_default_str();
  }
};

/// Streams that are closed at the start get a file that cannot be written, so that no other file takes their place and
/// what is printed to them fails.
void occupy_standard_streams() {
  while (true) {
    const int opened = open("/dev/null", O_RDONLY);
    if (opened < 0) return;
    if (opened > STDERR_FILENO) {
      close(opened);
      return;
    }
  }
}

/// What was printed has not all arrived, on a full disk for one.
Error printing_failure(const std::string& reason) {
  return Error("cannot print to the standard output", reason,
               "free some space or print elsewhere; a results file that was asked for is complete");
}

void finish_printing() {
  if (std::fflush(stdout) != 0) throw printing_failure(system_reason());
  if (std::ferror(stdout)) throw printing_failure("writing to it fails");
}

/// Help, the version, or what is wrong with the arguments. Returns the status to end with.
int explain(const CommandLine& line, const CLI::ParseError& error) {
  std::ostringstream out, wrong;
  const int status = line.app.exit(error, out, wrong);
  fmt::print(stderr, "{}", wrong.str());
  if (std::fputs(out.str().c_str(), stdout) < 0) throw printing_failure(system_reason());
  finish_printing();
  return status;
}

/// The program's exit status.
int run_command(const CommandLine& line, const Ranks& ranks) {
  try {
    const int threads = line.threads > 0 ? line.threads : ranks.fair_threads();
    check_threads(threads);
    set_thread_count(threads);
    line.command(ranks);
    finish_printing();
  } catch (const Interrupted& interrupted) {
    if (ranks.root()) fmt::print(stderr, "bitcluster: {}\n", interrupted.what());
    return interrupted_status;
  } catch (const std::system_error& error) {  // {fmt} throws it while a command prints
    if (std::ferror(stdout)) ranks.fail(printing_failure(error.code().message()));
    ranks.fail(error);
  } catch (const std::exception& error) {
    ranks.fail(error);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  restart_with_settings(argv);
  occupy_standard_streams();
  try {
    CommandLine line;
    try {
      line.app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return explain(line, error);
    }
    const Ranks ranks(argc, argv);
    return run_command(line, ranks);
  } catch (const SharedFailure&) {
    return 0;  // any other status could end the root, which says why there are no ranks, before it has done so
  } catch (const std::exception& error) {
    fmt::print(stderr, "bitcluster: error: {}\n", printable(error.what()));
    return 1;
  }
}
