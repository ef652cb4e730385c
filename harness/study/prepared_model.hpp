#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "harness/ranks/shared_inputs.hpp"
#include "harness/study/config.hpp"
#include "host/data/dataset.hpp"
#include "host/inference/backend.hpp"
#include "host/inference/integer_network.hpp"
#include "host/results/rows.hpp"

namespace bitcluster {

/// One model of a config, ready for the phases of a study: calibrated, its weights on the integer grid, loaded into a
/// backend of its own. It does not change.
class PreparedModel {
 public:
  /// Calibrates and quantizes. Collective.
  PreparedModel(const SharedInputs& inputs, const Ranks& ranks, Backend& backend, const Config& config,
                const Config::Model& model, Network network);
  PreparedModel(const PreparedModel&) = delete;

  const std::string& name() const { return name_; }
  const Dataset& data() const { return data_; }
  const std::vector<float>& input_table() const { return input_table_; }
  const Network& network() const { return integer_->network; }
  const std::shared_ptr<const IntegerNetwork>& integer() const { return integer_; }
  Backend& backend() const { return backend_; }
  const Quantizer& quantizer() const { return quantizer_; }  //!< collective
  /// Calls `prepare` for every layer with weights, in order, with its quantizer for compensated rounding. Collective.
  void compensate_layers(const std::function<void(const Quantizer& compensated)>& prepare) const;

  /// Indices of the layers with weights; "weighted" is a position in this list.
  const std::vector<int>& layers() const { return layers_; }
  const std::string& layer_name(int weighted) const { return network().layers[layers_[weighted]].name; }
  std::vector<std::string> layer_names() const;
  const std::vector<LayerRow>& rows() const { return rows_; }

 private:
  const Ranks& ranks_;
  std::string name_;
  Dataset data_;
  std::vector<float> input_table_;
  Backend& backend_;
  Quantizer quantizer_;
  std::shared_ptr<const Images> calibration_images_;
  std::shared_ptr<const IntegerNetwork> integer_;
  std::vector<int> layers_;
  std::vector<LayerRow> rows_;
};

}  // namespace bitcluster
