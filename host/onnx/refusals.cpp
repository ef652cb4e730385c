#include "host/onnx/refusals.hpp"

#include <map>
#include <string>

namespace bitcluster {
namespace {

struct Refusal {
  const char* why;
  const char* what_to_do;
};

constexpr Refusal dynamic_quantization = {
    "its integers have a scale that is found for every image (dynamic quantization)",
    "quantize statically, with scales from calibration: QDQ or QLinear operators, or give the float model"};
constexpr Refusal statistics_of_the_image = {
    "it normalizes by mean and deviation of each image over several axes",
    "BatchNormalization in evaluation mode is supported, and LayerNormalization over the channels alone"};
constexpr Refusal control_flow = {"it holds graphs of its own (control flow)",
                                  "export by tracing, so that the graph is one list of operators"};
constexpr Refusal recurrent = {"it is a recurrent layer", "only feed-forward networks on images are supported"};
constexpr Refusal class_choice = {"it chooses among the results",
                                  "end the model at the logits: the choice of a class is part of the evaluation"};
constexpr Refusal transposed = {"transposed convolution is not supported",
                                "upsample by Resize to the nearest or by DepthToSpace, and convolve behind it"};
constexpr Refusal unbounded = {
    "on activations it is supported only inside a LayerNormalization, as exporters before opset 17 write it",
    "as activation functions there are Sigmoid, Tanh, Softplus, Gelu and others"};

const std::map<std::string, Refusal>& refusals() {
  static const std::map<std::string, Refusal> known = {{"ArgMax", class_choice},
                                                       {"ArgMin", class_choice},
                                                       {"ConvInteger", dynamic_quantization},
                                                       {"ConvTranspose", transposed},
                                                       {"DynamicQuantizeLinear", dynamic_quantization},
                                                       {"Exp", unbounded},
                                                       {"GRU", recurrent},
                                                       {"GroupNormalization", statistics_of_the_image},
                                                       {"Hardmax", class_choice},
                                                       {"If", control_flow},
                                                       {"InstanceNormalization", statistics_of_the_image},
                                                       {"LSTM", recurrent},
                                                       {"Log", unbounded},
                                                       {"Loop", control_flow},
                                                       {"MatMulInteger", dynamic_quantization},
                                                       {"MeanVarianceNormalization", statistics_of_the_image},
                                                       {"RNN", recurrent},
                                                       {"Reciprocal", unbounded},
                                                       {"Scan", control_flow},
                                                       {"Sqrt", unbounded},
                                                       {"TopK", class_choice}};
  return known;
}

}  // namespace

void refuse_by_name(const Node& node) {
  const auto found = refusals().find(node.op());
  if (found != refusals().end()) node.fail(found->second.why, found->second.what_to_do);
}

}  // namespace bitcluster
