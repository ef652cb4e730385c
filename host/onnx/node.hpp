#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace onnx {
class AttributeProto;
class NodeProto;
class TensorProto;
}  // namespace onnx

namespace bitcluster {

/// Bound on batch sizes, kernels, strides and pads; beyond it a file is damaged.
inline constexpr std::int64_t extent_limit = 65536;

/// What helps where a file contradicts itself.
inline constexpr const char* export_again =
    "the model contradicts itself there: check it with onnx.checker, or export it again";

/// One node of an ONNX graph: its attributes with types checked, and errors that name it.
class Node {
 public:
  /// The proto must outlive the node. `opset` is the version of the default operator set.
  Node(const onnx::NodeProto& proto, int opset, const std::string& file);

  const std::string& name() const { return name_; }  //!< or its first output's, where it has none
  const std::string& op() const;
  int opset() const { return opset_; }

  int inputs() const;
  int outputs() const;
  bool has_input(int index) const;             //!< optional inputs may be left out
  const std::string& input(int index) const;   //!< Error if it is left out
  const std::string& output(int index) const;  //!< empty if it is left out

  bool has(const std::string& attribute) const;
  std::int64_t integer(const std::string& attribute, std::int64_t otherwise) const;
  std::vector<std::int64_t> integers(const std::string& attribute, const std::vector<std::int64_t>& otherwise) const;
  float number(const std::string& attribute, float otherwise) const;
  std::vector<float> numbers(const std::string& attribute) const;
  std::string text(const std::string& attribute, const std::string& otherwise) const;
  const onnx::TensorProto* tensor(const std::string& attribute) const;  //!< null if there is none

  /// `axis` counted from the front, for a tensor of that rank. Error if it is outside.
  int axis(std::int64_t axis, std::size_t rank) const;

  /// `value`, called `what` in messages. Error if it is below `lowest` or above extent_limit.
  int bounded(std::int64_t value, std::int64_t lowest, const char* what) const;

  /// Throws an Error that names the node and its operator.
  [[noreturn]] void fail(const std::string& why, const std::string& what_to_do) const;

 private:
  /// Null if there is none; Error if it has another type (an onnx::AttributeProto::AttributeType).
  const onnx::AttributeProto* find(const std::string& attribute, int type) const;

  const onnx::NodeProto* proto_;
  int opset_;
  std::string name_;
  std::string file_;
};

}  // namespace bitcluster
