#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "harness/ranks/devices.hpp"
#include "harness/ranks/shared_inputs.hpp"
#include "harness/scoring/evaluator.hpp"
#include "harness/study/config.hpp"
#include "host/emulation/emulator.hpp"

namespace bitcluster {

/// fixed + each x count [s].
struct Line {
  double fixed = 0, each = 0;
  double operator()(double count) const { return fixed + each * count; }
};

/// A kind of variant: in products, as tiles are cut, and in seconds, as they take.
struct VariantTime {
  VariantCost products, seconds;  //!< per image
  double pack = 0;                //!< [s] per tile
};

/// What one model costs on this machine [s].
struct ModelCosts {
  std::string name, data;
  std::vector<std::string> layers;  //!< with weights
  std::vector<double> products;     //!< of one image in every layer
  int calibration_images = 0, search_images = 0, test_images = 0, emulated_images = 0;
  int validation_images = 0;  //!< of the search images, those that assignments are confirmed on
  double image_bytes = 0, weights = 0;

  double import = 0;
  Line read, calibrate, run_float;   //!< per image; read: of one rank for itself
  bool shared_reading = false;       //!< every rank reads what it works on
  bool holds = false;                //!< the backend wants all images that are searched on
  double quantize_reference = 0;     //!< all layers
  double small_weights = 0;          //!< share of the weights that every rank quantizes
  double quantize_candidates = 0;    //!< all layers in all formats, but for compensated rounding
  Line gram;                         //!< compensated rounding: factors of all layers, products of inputs per image
  double compensate_candidates = 0;  //!< all layers in all its formats
  double keys = 0;                   //!< per byte of images

  VariantTime reference, everything;      //!< everything: all layers changed
  std::vector<VariantTime> alone;         //!< (layers): one layer changed
  VariantCost in_float;                   //!< products
  double observe = 0;                     //!< inputs of all layers, per image
  std::map<std::string, double> emulate;  //!< by accelerator, per product
};

/// Measures one model. accelerators: those whose emulation is timed. The images count as present if the config says how
/// many there are. Collective.
ModelCosts measure(const Ranks& ranks, const SharedInputs& inputs, const Devices& devices, const Config& config,
                   const Config::Model& model, const std::vector<Accelerator>& accelerators);

/// A layer with more weights than take a short time to emulate, cut to its first filters.
LayerTensors measured_part(LayerTensors layer);

/// Time of one call, the least of some: other programs on this machine only ever add to it. together: the ranks that
/// all have to make the same number of calls; null for what one does alone.
double seconds_of(const std::function<void()>& action, const Ranks* together = nullptr, int fewest = 1);

}  // namespace bitcluster
