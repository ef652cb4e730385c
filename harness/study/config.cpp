#include "harness/study/config.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>

#include "host/base/error.hpp"
#include "host/files/toml.hpp"
#include "host/results/rows.hpp"

namespace bitcluster {
namespace {

constexpr std::int64_t most_images = 100'000'000;
const std::set<std::string> known_encodings = {"binary", "signed_digit"};

void read_calibration(TomlTable table, Config::CalibrationOptions& options) {
  options.split = table.text("split", options.split);
  options.images = int(table.integer("images", 0, most_images, options.images));
  if (table.has("method")) {
    options.method =
        calibration_method_from_string(table.choice("method", {"maximum", "percentile", "least_squares", "model"}));
  }
  if (options.method == CalibrationMethod::percentile) {
    options.percentile = table.number("percentile", 50, 100, options.percentile);
  } else if (table.has("percentile")) {
    table.reject("percentile", "it has no effect with another method", "add method = \"percentile\", or remove it");
  }
  table.finish();
}

/// The allowed loss of accuracy as a fraction: a number, or a text like "1 %".
double read_budget(TomlTable& table, double otherwise) {
  constexpr const char* key = "budget";
  if (table.has_text(key)) {
    const std::string text = table.text(key);
    double percent = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), percent);
    std::string_view unit(end, text.data() + text.size());
    if (unit.starts_with(' ')) unit.remove_prefix(1);
    if (failure != std::errc() || unit != "%" || !(percent >= 0 && percent <= 100)) {
      table.reject(key, "it is no percentage", "write a fraction, e.g. 0.01, or a percentage, e.g. \"1 %\"");
    }
    return percent / 100;
  }
  const double budget = table.number(key, 0, 1, otherwise);
  constexpr double largest = 0.2;  // a study that allows more is rare; a percentage written as a fraction is not
  if (budget > largest) {
    table.reject(
        key, fmt::format("a loss of {:g} % would be allowed", 100 * budget),
        fmt::format("write a fraction up to {:g}, e.g. 0.01, or a percentage, e.g. \"{:g} %\"", largest, budget));
  }
  return budget;
}

/// A list of different numbers, sorted.
std::vector<std::int64_t> read_set(TomlTable& table, const std::string& key, std::int64_t lowest, std::int64_t highest,
                                   const std::string& what_to_do) {
  std::vector<std::int64_t> values = table.integers(key, lowest, highest);
  std::sort(values.begin(), values.end());
  if (values.empty() || std::adjacent_find(values.begin(), values.end()) != values.end()) {
    table.reject(key, "the list is empty or names a value twice", what_to_do);
  }
  return values;
}

/// The formats of every preparation that N is listed for; none with more terms than bits.
std::vector<Config::Candidates> read_candidates(TomlTable& table, const AskedFormats& asked) {
  std::vector<Config::Candidates> candidates;
  for (const Preparation* preparation : preparations()) {
    const std::string key(preparation->key);
    // the search is about BitCluster; others are compared with it
    if (key.empty() || (preparation != &bitcluster_weights && !table.has(key))) continue;
    const std::vector<std::int64_t> listed = read_set(table, key, 1, 16, "list each N once, e.g. [1, 2, 3, 4]");
    candidates.push_back({preparation, preparation->formats(asked, std::vector<int>(listed.begin(), listed.end()))});
    for (const WeightFormat& format : candidates.back().formats) {
      if (format.terms <= format.bits) continue;
      table.reject(key, fmt::format("{} terms do not fit {} bits", format.terms, format.bits),
                   "list only N up to the number of bits");
    }
  }
  return candidates;
}

void read_search(TomlTable table, Config::SearchOptions& options, const WeightFormat& reference) {
  options.split = table.text("split", options.split);
  options.test_split = table.text("test_split", options.test_split);
  options.images = int(table.integer("images", 0, most_images, options.images));
  options.test_images = int(table.integer("test_images", 0, most_images, options.test_images));
  options.validation = table.number("validation", 0, 0.9, options.validation);
  options.budget = read_budget(table, options.budget);
  options.confident = table.boolean("confident", options.confident);
  if (table.has("policy") && table.choice("policy", {"model", "greedy"}) == "greedy") {
    options.policy = SearchPolicy::greedy;
    for (const char* key : {"probes", "choice_rounds", "refine_rounds", "patience"}) {
      if (table.has(key)) table.reject(key, "it has no effect with policy = \"greedy\"", "remove it");
    }
  }
  options.probes = int(table.integer("probes", 1, 1000, options.probes));
  options.choice_rounds = int(table.integer("choice_rounds", 0, 1000, options.choice_rounds));
  options.refine_rounds = int(table.integer("refine_rounds", 0, 1000, options.refine_rounds));
  options.patience = int(table.integer("patience", 1, 1000, options.patience));
  if (table.has("sensitivity_images")) {
    options.sensitivity_images = int(table.integer("sensitivity_images", 0, most_images));
    if (options.images > 0 && *options.sensitivity_images > options.images) {
      table.reject("sensitivity_images", fmt::format("the search has {} images", options.images),
                   "give at most as many, or 0 for all");
    }
  }
  options.early_stop = table.boolean("early_stop", options.early_stop);
  if (table.has("minimise")) options.minimise = table.choice("minimise", {"cycles", "energy", "energy_delay"});
  AskedFormats asked{reference, {reference.bits}, {}, table.boolean("exact", false), Rounding::nearest};
  if (table.has("rounding"))
    asked.rounding = rounding_from_string(table.choice("rounding", {"nearest", "compensated"}));
  std::vector<std::string> encodings = {to_string(reference.encoding)};
  if (table.has("encoding")) encodings = {table.choice("encoding", {"binary", "signed_digit"})};
  if (table.has("encodings")) {
    if (table.has("encoding")) table.reject("encoding", "encodings is there, too", "remove one of them");
    encodings = table.texts("encodings");
    const std::set<std::string> different(encodings.begin(), encodings.end());
    if (encodings.empty() || different.size() != encodings.size() ||
        !std::includes(known_encodings.begin(), known_encodings.end(), different.begin(), different.end())) {
      table.reject("encodings", "the list is empty, names one twice or one that is not known",
                   "list binary, signed_digit or both");
    }
  }
  for (const std::string& encoding : encodings) asked.encodings.push_back(encoding_from_string(encoding));
  if (table.has("bits")) {
    const auto bits = read_set(table, "bits", 4, 16, "list each number of bits once, e.g. [6, 8]");
    asked.bits.assign(bits.begin(), bits.end());
  }
  options.candidates = read_candidates(table, asked);
  if (options.split == options.test_split) {
    table.reject("split", "the search would see the test split", "choose different splits for search and test");
  }
  table.finish();
}

void read_emulation(TomlTable table, Config::EmulationOptions& options) {
  for (const std::string& file : table.texts("accelerators")) options.accelerators.push_back(table.resolve(file));
  options.split = table.text("split", options.split);
  options.images = int(table.integer("images", 1, most_images, options.images));
  if (table.has("equal_area")) options.equal_area = table.boolean("equal_area");
  table.finish();
}

/// As tables, file names and job lists show it.
std::string read_model_name(TomlTable& model) {
  const std::string name = model.text("name");
  const auto is_control = [](char byte) { return (byte >= 0 && byte < ' ') || byte == 0x7f; };
  if (name.find_first_not_of(' ') == std::string::npos || std::ranges::any_of(name, is_control)) {
    model.reject("name", "it is empty or holds control characters", "give the name that tables print, in one line");
  }
  if (name == geometric_mean_name) {
    model.reject("name", "rows of means over the models are named so", "give the model another name");
  }
  return name;
}

Config read_config(TomlTable table, const std::string& text) {
  Config config;
  config.path = table.path();
  config.text = text;

  config.seed = table.integer("seed", 0, std::numeric_limits<std::int64_t>::max(), config.seed);
  config.reference.bits = int(table.integer("bits", 4, 16, config.reference.bits));
  config.reference.per_channel = table.boolean("per_channel", config.reference.per_channel);
  const std::string data = table.text("data", "");
  std::set<std::string> names;
  for (TomlTable& model : table.tables("models")) {
    const std::string model_data = model.text("data", data);
    if (model_data.empty()) {
      model.reject("data", "the model has no data", "add data = \"DATA.toml\" to it or to the top of the file");
    }
    config.models.push_back({read_model_name(model), model.resolve(model.text("onnx")), model.resolve(model_data)});
    if (!names.insert(config.models.back().name).second) {
      model.reject("name", "two models have this name", "give every model its own name");
    }
    model.finish();
  }
  if (table.has("calibration")) read_calibration(table.table("calibration"), config.calibration);
  if (table.has("search")) read_search(table.table("search"), config.search, config.reference);
  if (table.has("emulation")) read_emulation(table.table("emulation"), config.emulation);
  table.finish();
  return config;
}

}  // namespace

int Config::SearchOptions::validation_images(int all) const {
  if (validation == 0 || all < 2) return 0;
  return std::clamp(int(std::lround(validation * all)), 1, all - 1);
}

CalibrationMethod calibration_method_from_string(const std::string& name) {
  if (name == "maximum") return CalibrationMethod::maximum;
  if (name == "percentile") return CalibrationMethod::percentile;
  if (name == "least_squares") return CalibrationMethod::least_squares;
  if (name == "model") return CalibrationMethod::model;
  throw Error("unknown calibration method '" + name + "'", "it is not one of the known methods",
              "use maximum, percentile, least_squares or model");
}

void check_search(const Config& config, const std::vector<std::string>& designs) {
  const std::string what = "'" + config.path + "': nothing can be searched";
  if (config.search.candidates.empty()) {
    throw Error(what, "it has no [search]", "add [search] with terms, e.g. terms = [1, 2, 3, 4]");
  }
  if (std::find(designs.begin(), designs.end(), bitcluster_weights.design) == designs.end()) {
    throw Error("the search has no costs to minimise", "no accelerator of the config has design \"bitcluster\"",
                "add one to accelerators in [emulation]");
  }
}

Config load_config(const std::string& path) { return parse_config(TomlTable::read_text(path), path); }

void check_files(const Config& config) {
  const auto require = [&](const std::string& file, const std::string& where) {
    if (std::filesystem::exists(file)) return;
    throw Error(fmt::format("'{}': {}", config.path, where), fmt::format("there is no file '{}'", file),
                "correct the path, which is relative to the config's folder");
  };
  for (const Config::Model& model : config.models) {
    require(model.onnx, fmt::format("onnx of model '{}'", model.name));
    require(model.data, fmt::format("data of model '{}'", model.name));
  }
  for (const std::string& file : config.emulation.accelerators) require(file, "accelerators in [emulation]");
}

Config parse_config(const std::string& text, const std::string& path) {
  return read_config(TomlTable::parse(text, path), text);
}

void select_models(Config& config, const std::vector<std::string>& names) {
  if (names.empty()) return;
  std::string known;
  for (const Config::Model& model : config.models) known += (known.empty() ? "" : ", ") + model.name;
  for (const std::string& name : names) {
    if (std::none_of(config.models.begin(), config.models.end(),
                     [&](const Config::Model& model) { return model.name == name; })) {
      throw Error("'" + config.path + "': there is no model '" + name + "'", "it has " + known, "name one of these");
    }
  }
  std::erase_if(config.models, [&](const Config::Model& model) {
    return std::find(names.begin(), names.end(), model.name) == names.end();
  });
}

}  // namespace bitcluster
