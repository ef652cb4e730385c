#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/cpu/calibrate.hpp"
#include "host/search/layerwise_search.hpp"
#include "host/weights/preparation.hpp"

namespace bitcluster {

/// What a CONFIG.toml asks for, checked. Paths are resolved against the file's folder.
struct Config {
  struct Model {
    std::string name;  //!< as tables print it
    std::string onnx;
    std::string data;  //!< DATA.toml
  };

  struct CalibrationOptions {
    std::string split = "calibration";
    int images = 0;  //!< 0: all of the split
    CalibrationMethod method = CalibrationMethod::least_squares;
    double percentile = 99.99;
  };

  /// What a search may choose from for every layer.
  struct Candidates {
    const Preparation* preparation;
    std::vector<WeightFormat> formats;  //!< smallest N of each kind first
  };

  struct SearchOptions {
    std::string split = "search";
    std::string test_split = "test";
    int images = 0, test_images = 0;     //!< 0: all of the split
    double validation = 0.2;             //!< part of the images that assignments are confirmed on, see LayerwiseSearch
    std::vector<Candidates> candidates;  //!< of every preparation that it lists N for
    double budget = 0.01;                //!< allowed loss of top-1 accuracy, fraction
    bool confident = true;               //!< see SearchProblem
    std::string minimise = "cycles";     //!< cycles | energy | energy_delay
    SearchPolicy policy = SearchPolicy::model;
    int probes = 2, choice_rounds = 5, refine_rounds = 30, patience = 16;  //!< see SearchProblem
    std::optional<int> sensitivity_images;                                 //!< first of the search images (0: all)
    bool early_stop = true;                                                //!< give up assignments that look hopeless

    /// Of so many images, how many are kept for validation: some and not all, or none if validation is 0.
    int validation_images(int all) const;
  };

  struct EmulationOptions {
    std::vector<std::string>
        accelerators;                   //!< TOML files; see Preparation for which of them runs the assignments found
    std::string split = "calibration";  //!< its first images are those whose activations are looked at
    int images = 1;
    std::optional<bool> equal_area;  //!< compare at the array area of the first BitCluster design, too; left out: if
                                     //!< there is one
  };

  std::string path, text;  //!< the file and its whole content, for provenance
  std::int64_t seed = 1;
  std::vector<Model> models;
  WeightFormat reference;  //!< plain integer weights
  CalibrationOptions calibration;
  SearchOptions search;
  EmulationOptions emulation;
};

/// Error if the config does not say what a search needs: candidates, and an accelerator of BitCluster's design, whose
/// costs are minimised. designs: the names of its accelerators' designs. Other preparations are skipped without theirs.
void check_search(const Config& config, const std::vector<std::string>& designs);

/// Error for an unreadable file, a misspelled key or an impossible value, naming file and line.
Config load_config(const std::string& path);

/// The same of the text of a file that was at `path`, as provenance keeps it.
Config parse_config(const std::string& text, const std::string& path);

/// Error, naming the config, if a file that it names is not there.
void check_files(const Config& config);

/// Keeps the models of these names, in the config's order; none named: all. Error for a name that is not there.
void select_models(Config& config, const std::vector<std::string>& names);

CalibrationMethod calibration_method_from_string(const std::string& name);

}  // namespace bitcluster
