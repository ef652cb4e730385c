#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "host/model/network.hpp"
#include "host/onnx/constant.hpp"
#include "host/onnx/element_map.hpp"
#include "host/onnx/import_budget.hpp"
#include "host/onnx/node.hpp"
#include "host/onnx/rearrange.hpp"

namespace onnx {
class GraphProto;
class ModelProto;
class ValueInfoProto;
}  // namespace onnx

namespace bitcluster {

/// Elements that one tensor of one image may have; the largest of the six ImageNet models has 3.2 million.
inline constexpr std::int64_t activation_limit = std::int64_t(1) << 26;

/// What an element counts that is moved: 4 bytes, from anywhere in memory, where a computed one follows the one before.
inline constexpr double bytes_per_move = 16;

/// (c, h, w) of a tensor of any rank, and the other way round.
Shape shape_of(const Dims& dims);
Dims dims_of(const Shape& shape);

/// What integers of QuantizeLinear stand for: scale times (integer minus zero point).
struct Quantization {
  float scale = 1, zero_point = 0;
  int type = 0;  //!< onnx::TensorProto::DataType of the integers

  float real(float integer) const { return (integer - zero_point) * scale; }
  bool operator==(const Quantization&) const = default;
};

/// What a tensor of the graph is for one image: elements of a layer's output, moved. Movements are made real, as
/// Rearrange layers, only where an operation needs them, so that chains of them become one layer or none.
struct ImportedTensor {
  int layer = 0;
  ElementMap elements;  //!< dims[0] is the batch, here 1
  std::string name;     //!< of the node that moved the elements
  bool softmax = false;
  /// The graph has integers here, the layer what they stand for.
  std::optional<Quantization> integers = {};
};

using ImportedValue = std::variant<Constant, ImportedTensor>;

/// Walks the nodes of a graph and adds their layers to a network. The functions of operators.hpp read the inputs of
/// their node from it and give it their results. Errors name the node.
class Importer {
 public:
  /// Weights are taken out of `model`, to hold them once. `path` is for messages and for the network's name.
  Importer(onnx::ModelProto& model, const std::string& path);
  Network run();

  // Inputs of a node. References stay valid.

  bool is_constant(const Node& node, int index);
  /// Error if it depends on the image.
  const Constant& constant(const Node& node, int index);
  ConstantInput constant_inputs(const Node& node);
  /// Values of a constant of a float type.
  const std::vector<float>& floats(const Node& node, int index);
  /// Error if it is constant.
  ImportedTensor& tensor(const Node& node, int index);
  /// The layer whose (c, h, w) output is input 0.
  int image(const Node& node);
  /// As the file has it; 1 where it is left open.
  std::int64_t batch_size() const { return batch_.size; }

  /// Counts elements that a node moves: a small file must not keep us busy.
  void charge_moved(const std::string& node, std::size_t elements) {
    budget_.spend(node, bytes_per_move * double(elements));
  }

  // Layers.

  Shape output_of(int layer) const { return network_.layers[std::size_t(layer)].output; }
  bool is_permuted(const ImportedTensor& tensor) const;
  /// The layer whose output is this tensor with the given (c, h, w); a new Rearrange where elements have moved.
  int make_real(ImportedTensor& tensor, const Shape& shape);
  /// For element-wise operations, which do not mind the order: afterwards the tensor holds each element of its layer
  /// once.
  ImportedTensor& make_permuted(ImportedTensor& tensor);
  int add_layer(const std::string& name, Operation operation, std::vector<int> inputs, Shape output);
  /// Adds a layer that works element by element on `input`, and keeps the order of its elements.
  ImportedTensor add_elementwise(const Node& node, Operation operation, const ImportedTensor& input);
  /// Bounds of what a layer gives.
  void clamp(int layer, float low, float high);
  /// Distance of the integers that the model rounds it to.
  void quantize(int layer, float step) { network_.layers[std::size_t(layer)].step = step; }
  /// The layer is a per-channel scale and shift, which simplify() may fold.
  void mark_affine(int layer) { affine_[std::size_t(layer)] = true; }

  // Results of a node.

  void set(const Node& node, int index, ImportedValue value);
  /// Adds a layer whose (c, h, w) output is output 0 of the node; integers: as in ImportedTensor.
  void emit(const Node& node, Operation operation, std::vector<int> inputs, Shape output,
            std::optional<Quantization> integers = {});

 private:
  [[noreturn]] void fail(const std::string& why, const std::string& what_to_do) const;
  [[noreturn]] void fail_twice(const std::string& tensor) const;

  struct Reason {
    std::string why, what_to_do;
  };
  Reason why_missing(const std::string& tensor) const;

  const onnx::ValueInfoProto& only_input() const;
  void add_input();
  bool read_as_channels_last(const std::string& input, int rank) const;
  void find_producers();
  std::vector<bool> needed_nodes();
  void import(const onnx::NodeProto& proto);

  const Constant* find_constant(const Node& node, const std::string& name);
  void check_size(const Dims& dims) const;
  bool in_order(const ImportedTensor& tensor) const;
  std::string unique_name(const std::string& wanted);

  onnx::GraphProto& graph_;
  std::string path_;
  int opset_ = 0;
  BatchAxis batch_;
  Network network_;
  std::vector<bool> affine_;  // per layer: a scale and shift that may be folded
  std::set<std::string> names_;
  std::map<std::string, int> numbers_;  // appended so far to make a layer's name unique
  std::map<std::string, onnx::TensorProto*> initializers_;
  struct Producer {
    int node, output;
  };
  std::map<std::string, Producer> producers_;    // of every tensor that a node gives
  std::map<std::string, int> readers_;           // that are still to come, of every needed tensor
  std::map<std::string, ImportedValue> values_;  // that still have readers
  int imported_ = 0;                             // nodes so far
  ImportBudget budget_;
};

}  // namespace bitcluster
