#include "harness/study/model_emulator.hpp"

namespace bitcluster {

ModelEmulator::ModelEmulator(const CandidateWeights& weights, std::shared_ptr<const Images> images)
    : weights_(weights), images_(std::move(images)) {
  for (int image = 0; images_ && image < images_->count; ++image) {
    image_keys_.push_back(KeyBuilder().add(images_->pixels(image, 1)).key());
  }
}

LayerEmulation ModelEmulator::emulate(const EmulationTask& task, StepCounter* step_counter) {
  const PreparedModel& model = weights_.model();
  const QuantizedWeights& weights = weights_.of(task.layer, task.choice);
  const int layer = model.layers()[task.layer];
  LayerTensors tensors{layer_geometry(model.network(), layer), weights.values, weights.format, {}, 8, false};
  if (task.image >= 0) {
    if (task.image != observed_) {
      inputs_.clear();
      model.backend().observe_inputs(
          {images_->image(task.image), 1}, {},
          [&](int, int, std::span<const std::int16_t> values) { inputs_.emplace_back(values.begin(), values.end()); });
      observed_ = task.image;
    }
    tensors.activations = inputs_[task.layer];
    tensors.activations_signed = model.integer()->formats[model.network().layers[layer].inputs[0]].is_signed;
  }
  return bitcluster::emulate(*task.accelerator, tensors, step_counter);
}

Key ModelEmulator::key(const EmulationTask& task, KeyCache& keys) const {
  KeyBuilder builder;
  // the reference weights decide the activations
  builder.add("emulation").add(std::span<const Key>(keys.of(weights_.model().integer())));
  builder.add(content_key(*task.accelerator));
  builder.add(std::int64_t(task.layer)).add(std::int64_t(task.choice != reference_choice));
  if (task.choice != reference_choice) builder.add(keys.of(weights_.shared(task.layer, task.choice))[0]);
  if (task.image >= 0) builder.add(image_keys_[task.image]);
  return builder.key();
}

}  // namespace bitcluster
