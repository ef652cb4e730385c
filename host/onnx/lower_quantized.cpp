#include "host/onnx/lower_quantized.hpp"

#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace bitcluster {
namespace {

/// Where an operator has its inputs. A quantized tensor is followed by its scale and zero point; the result has only
/// those.
struct Inputs {
  std::vector<int> tensors;
  int result;
  int bias = -1;         //!< int32 at scale (tensor 0 x tensor 1)
  bool repeats = false;  //!< tensors from the first on, as many as there are
};

struct Lowering {
  const char* op;  //!< on real numbers
  Inputs inputs;
};

const std::map<std::string, Lowering>& lowerings() {
  static const std::map<std::string, Lowering> known = {{"QGemm", {"Gemm", {{0, 3}, 7, 6}}},
                                                        {"QLinearAdd", {"Add", {{0, 3}, 6}}},
                                                        {"QLinearAveragePool", {"AveragePool", {{0}, 3}}},
                                                        {"QLinearConcat", {"Concat", {{2}, 0, -1, true}}},
                                                        {"QLinearConv", {"Conv", {{0, 3}, 6, 8}}},
                                                        {"QLinearGlobalAveragePool", {"GlobalAveragePool", {{0}, 3}}},
                                                        {"QLinearLeakyRelu", {"LeakyRelu", {{0}, 3}}},
                                                        {"QLinearMatMul", {"MatMul", {{0, 3}, 6}}},
                                                        {"QLinearMul", {"Mul", {{0, 3}, 6}}},
                                                        {"QLinearReduceMean", {"ReduceMean", {{0}, 3}}},
                                                        {"QLinearSigmoid", {"Sigmoid", {{0}, 3}}},
                                                        {"QLinearSoftmax", {"Softmax", {{0}, 3}}}};
  return known;
}

const onnx::AttributeProto* find(const onnx::NodeProto& node, const std::string& attribute) {
  const auto found = std::find_if(node.attribute().begin(), node.attribute().end(),
                                  [&](const auto& candidate) { return candidate.name() == attribute; });
  return found == node.attribute().end() ? nullptr : &*found;
}

/// Writes one node as several.
class Lower {
 public:
  Lower(google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes, const onnx::NodeProto& node,
        const Lowering& lowering)
      : nodes_(nodes), node_(node), lowering_(lowering) {}

  void run() {
    const Inputs& inputs = lowering_.inputs;
    std::vector<int> tensors = inputs.tensors;
    for (int i = tensors[0] + 3; inputs.repeats && i < node_.input_size(); i += 3) tensors.push_back(i);
    std::vector<std::string> reals;
    for (std::size_t i = 0; i < tensors.size(); ++i) reals.push_back(real(tensors[i], i == 0));
    if (!input(inputs.bias).empty()) reals.push_back(real_bias(inputs.bias));
    const bool quantizes = !input(inputs.result).empty();  // QGemm may give real numbers
    const std::string result = quantizes ? name("result") : node_.output(0);
    onnx::NodeProto& operation = add(lowering_.op, reals, result);
    operation.set_name(node_.name());
    for (const auto& attribute : node_.attribute()) {
      if (attribute.name() != "channels_last" && attribute.name() != "opset") *operation.add_attribute() = attribute;
    }
    if (quantizes) {
      add("QuantizeLinear", {result, input(inputs.result), input(inputs.result + 1)}, node_.output(0));
    }
  }

 private:
  std::string input(int index) const { return index >= 0 && index < node_.input_size() ? node_.input(index) : ""; }

  std::string name(const std::string& of) const { return fmt::format("{} ({})", node_.output(0), of); }

  onnx::NodeProto& add(const std::string& op, const std::vector<std::string>& inputs, const std::string& output) {
    onnx::NodeProto& added = *nodes_.Add();
    added.set_op_type(op);
    added.set_name(output);
    for (const auto& input : inputs) added.add_input(input);
    added.add_output(output);
    return added;
  }

  static void set_axis(onnx::NodeProto& node, int axis) {
    auto& attribute = *node.add_attribute();
    attribute.set_name("axis");
    attribute.set_type(onnx::AttributeProto::INT);
    attribute.set_i(axis);
  }

  /// A scale per filter runs along the axis of the filters: of the rows of (rows, inner) it is 0, of the columns of
  /// (inner, columns) 1.
  int axis(bool first) const {
    const auto* turned = find(node_, "transB");
    const bool rows = std::string(lowering_.op) == "Conv" || first || (turned && turned->i() != 0);
    return rows ? 0 : 1;
  }

  std::string real(int index, bool first) {
    const std::string result = name(fmt::format("input {}", index));
    set_axis(add("DequantizeLinear", {input(index), input(index + 1), input(index + 2)}, result), axis(first));
    return result;
  }

  std::string real_bias(int index) {
    const Inputs& inputs = lowering_.inputs;
    std::string scale = name("bias scale");
    add("Mul", {input(inputs.tensors[0] + 1), input(inputs.tensors[1] + 1)}, scale);
    if (const auto* alpha = find(node_, "alpha")) {
      onnx::NodeProto& constant = add("Constant", {}, name("alpha"));
      *constant.add_attribute() = *alpha;
      constant.mutable_attribute(0)->set_name("value_float");
      add("Mul", {scale, name("alpha")}, name("bias scale with alpha"));
      scale = name("bias scale with alpha");
    }
    const std::string result = name("bias");
    set_axis(add("DequantizeLinear", {input(index), scale}, result), 0);
    return result;
  }

  google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes_;
  const onnx::NodeProto& node_;
  const Lowering& lowering_;
};

}  // namespace

void lower_quantized(onnx::GraphProto& graph) {
  const bool any = std::any_of(graph.node().begin(), graph.node().end(),
                               [](const auto& node) { return lowerings().contains(node.op_type()); });
  if (!any) return;
  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
  for (auto& node : *graph.mutable_node()) {
    const auto found = lowerings().find(node.op_type());
    const auto* channels_last = find(node, "channels_last");
    const bool as_it_is = found == lowerings().end() || node.output_size() < 1 || node.input_size() < 3 ||
                          (channels_last && channels_last->i() != 0);
    if (as_it_is) {
      *nodes.Add() = std::move(node);
    } else {
      Lower(nodes, node, found->second).run();
    }
  }
  graph.mutable_node()->Swap(&nodes);
}

}  // namespace bitcluster
