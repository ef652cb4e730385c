#include "host/onnx/layer_norms.hpp"

#include <onnx/onnx_pb.h>

#include <map>
#include <optional>
#include <string>

#include "host/onnx/constant.hpp"
#include "host/onnx/node.hpp"

namespace bitcluster {
namespace {

/// Finds what computes a tensor of the graph.
class Recognizer {
 public:
  explicit Recognizer(const onnx::GraphProto& graph) {
    for (const auto& node : graph.node()) {
      for (const auto& output : node.output()) producers_.emplace(output, &node);
    }
    for (const auto& tensor : graph.initializer()) initializers_.emplace(tensor.name(), &tensor);
  }

  struct LayerNorm {
    std::string input;
    std::int64_t axis;
    float epsilon;
  };

  std::optional<LayerNorm> match(const onnx::NodeProto& quotient) const {
    if (quotient.op_type() != "Div" || quotient.input_size() != 2) return std::nullopt;
    const auto* difference = producer(quotient.input(0), "Sub");
    const auto* root = producer(quotient.input(1), "Sqrt");
    const auto* sum = root ? producer(root->input(0), "Add") : nullptr;
    if (!difference || !sum) return std::nullopt;
    const std::string& input = difference->input(0);
    for (int side = 0; side < 2; ++side) {
      const auto epsilon = number(sum->input(side));
      const auto* variance = producer(sum->input(1 - side), "ReduceMean");
      const auto* mean = producer(difference->input(1), "ReduceMean");
      if (!epsilon || !variance || !mean || mean->input(0) != input) continue;
      const auto axis = single_axis(*mean);
      if (!axis || single_axis(*variance) != axis || !is_square_of(variance->input(0), *difference)) continue;
      return LayerNorm{input, *axis, *epsilon};
    }
    return std::nullopt;
  }

 private:
  /// Null if it is not computed by that operator, with as many inputs as all operators here have.
  const onnx::NodeProto* producer(const std::string& tensor, const std::string& op) const {
    const auto found = producers_.find(tensor);
    if (found == producers_.end() || found->second->op_type() != op) return nullptr;
    const int inputs = op == "Sqrt" || op == "ReduceMean" ? 1 : 2;
    return found->second->input_size() >= inputs ? found->second : nullptr;
  }

  bool is_square_of(const std::string& tensor, const onnx::NodeProto& difference) const {
    const auto is_difference = [&](const std::string& name) {
      const auto* other = producer(name, "Sub");  // some exporters write it twice
      return other && other->input(0) == difference.input(0) && other->input(1) == difference.input(1);
    };
    if (const auto* power = producer(tensor, "Pow")) {
      return is_difference(power->input(0)) && number(power->input(1)) == 2.0f;
    }
    const auto* product = producer(tensor, "Mul");
    return product && is_difference(product->input(0)) && is_difference(product->input(1));
  }

  const onnx::TensorProto* constant(const std::string& tensor) const {
    const auto stored = initializers_.find(tensor);
    if (stored != initializers_.end()) return stored->second;
    const auto found = producers_.find(tensor);
    if (found == producers_.end() || found->second->op_type() != "Constant") return nullptr;
    for (const auto& attribute : found->second->attribute()) {
      if (attribute.name() == "value" && attribute.has_t()) return &attribute.t();
    }
    return nullptr;
  }

  std::optional<float> number(const std::string& tensor) const {
    const auto* found = constant(tensor);
    if (!found || found->data_location() == onnx::TensorProto::EXTERNAL ||
        element_count(Dims(found->dims().begin(), found->dims().end())) != 1) {
      return std::nullopt;
    }
    return read_constant(*found, "cannot read '" + tensor + "'").number(0);
  }

  /// The only axis that a ReduceMean reduces and keeps with extent 1.
  std::optional<std::int64_t> single_axis(const onnx::NodeProto& mean) const {
    std::optional<std::int64_t> axis;
    for (const auto& attribute : mean.attribute()) {
      if (attribute.name() == "keepdims" && attribute.i() == 0) return std::nullopt;
      if (attribute.name() == "axes" && attribute.ints_size() == 1) axis = attribute.ints(0);
    }
    if (mean.input_size() > 1) {
      if (const auto found = number(mean.input(1))) axis = std::int64_t(*found);
    }
    return axis;
  }

  std::map<std::string, const onnx::NodeProto*> producers_;
  std::map<std::string, const onnx::TensorProto*> initializers_;
};

}  // namespace

void recognize_layer_norms(onnx::GraphProto& graph) {
  std::map<int, Recognizer::LayerNorm> found;
  {
    const Recognizer recognizer(graph);
    for (int i = 0; i < graph.node_size(); ++i) {
      if (const auto match = recognizer.match(graph.node(i))) found.emplace(i, *match);
    }
  }
  for (const auto& [index, norm] : found) {
    onnx::NodeProto& node = *graph.mutable_node(index);
    node.set_op_type("LayerNormalization");
    node.clear_input();
    node.add_input(norm.input);
    auto& axes = *node.add_attribute();
    axes.set_name("axes");
    axes.set_type(onnx::AttributeProto::INTS);
    axes.add_ints(norm.axis);
    auto& epsilon = *node.add_attribute();
    epsilon.set_name("epsilon");
    epsilon.set_type(onnx::AttributeProto::FLOAT);
    epsilon.set_f(norm.epsilon);
  }
}

}  // namespace bitcluster
