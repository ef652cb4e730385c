#include "harness/study/prepared_model.hpp"

#include "harness/ranks/shared_preparation.hpp"
#include "host/results/build_rows.hpp"

namespace bitcluster {

PreparedModel::PreparedModel(const SharedInputs& inputs, const Ranks& ranks, Backend& backend, const Config& config,
                             const Config::Model& model, Network network)
    : ranks_(ranks),
      name_(model.name),
      data_(Dataset::load(model.data)),
      input_table_(data_.input_table()),
      backend_(backend),
      quantizer_(shared_quantizer(ranks, quantizer_of(backend))) {
  network.name = model.name;
  calibration_images_ = inputs.images(data_, config.calibration.split, config.calibration.images, network);
  const Calibration calibration = calibrate(ranks, network, *calibration_images_, input_table_,
                                            config.calibration.method, config.calibration.percentile);
  integer_ = std::make_shared<const IntegerNetwork>(
      make_integer(std::move(network), calibration, config.reference, input_table_, quantizer_));
  layers_ = weighted_layers(integer_->network);
  rows_ = layer_rows(name_, integer_->network, quantizer_);
  backend.load(*integer_);
}

std::vector<std::string> PreparedModel::layer_names() const {
  std::vector<std::string> names;
  for (const int layer : layers_) names.push_back(network().layers[layer].name);
  return names;
}

void PreparedModel::compensate_layers(const std::function<void(const Quantizer& compensated)>& prepare) const {
  bitcluster::compensate_layers(ranks_, backend_, *integer_, *calibration_images_, quantizer_,
                                [&](int, const Quantizer& compensated) { prepare(compensated); });
}

}  // namespace bitcluster
