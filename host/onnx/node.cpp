#include "host/onnx/node.hpp"

#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include "host/base/error.hpp"

namespace bitcluster {

Node::Node(const onnx::NodeProto& proto, int opset, const std::string& file)
    : proto_(&proto), opset_(opset), name_(proto.name()), file_(file) {
  if (name_.empty() && proto.output_size() > 0) name_ = proto.output(0);
}

const std::string& Node::op() const { return proto_->op_type(); }
int Node::inputs() const { return proto_->input_size(); }
int Node::outputs() const { return proto_->output_size(); }
bool Node::has_input(int index) const { return index < proto_->input_size() && !proto_->input(index).empty(); }

const std::string& Node::input(int index) const {
  if (!has_input(index)) fail(fmt::format("input {} is missing", index), export_again);
  return proto_->input(index);
}

const std::string& Node::output(int index) const {
  static const std::string none;
  return index < proto_->output_size() ? proto_->output(index) : none;
}

bool Node::has(const std::string& attribute) const {
  for (const auto& candidate : proto_->attribute()) {
    if (candidate.name() == attribute) return true;
  }
  return false;
}

const onnx::AttributeProto* Node::find(const std::string& attribute, int type) const {
  for (const auto& candidate : proto_->attribute()) {
    if (candidate.name() != attribute) continue;
    if (int(candidate.type()) != type) fail(fmt::format("attribute '{}' has the wrong type", attribute), export_again);
    return &candidate;
  }
  return nullptr;
}

std::int64_t Node::integer(const std::string& attribute, std::int64_t otherwise) const {
  const auto* found = find(attribute, onnx::AttributeProto::INT);
  return found ? found->i() : otherwise;
}

std::vector<std::int64_t> Node::integers(const std::string& attribute,
                                         const std::vector<std::int64_t>& otherwise) const {
  const auto* found = find(attribute, onnx::AttributeProto::INTS);
  return found ? std::vector<std::int64_t>(found->ints().begin(), found->ints().end()) : otherwise;
}

float Node::number(const std::string& attribute, float otherwise) const {
  const auto* found = find(attribute, onnx::AttributeProto::FLOAT);
  return found ? found->f() : otherwise;
}

std::vector<float> Node::numbers(const std::string& attribute) const {
  const auto* found = find(attribute, onnx::AttributeProto::FLOATS);
  return found ? std::vector<float>(found->floats().begin(), found->floats().end()) : std::vector<float>();
}

std::string Node::text(const std::string& attribute, const std::string& otherwise) const {
  const auto* found = find(attribute, onnx::AttributeProto::STRING);
  return found ? found->s() : otherwise;
}

const onnx::TensorProto* Node::tensor(const std::string& attribute) const {
  const auto* found = find(attribute, onnx::AttributeProto::TENSOR);
  return found ? &found->t() : nullptr;
}

int Node::axis(std::int64_t axis, std::size_t rank) const {
  const auto signed_rank = std::int64_t(rank);
  if (axis < -signed_rank || axis >= signed_rank) {
    fail(fmt::format("axis {} is outside a tensor of rank {}", axis, rank), export_again);
  }
  return int(axis < 0 ? axis + signed_rank : axis);
}

int Node::bounded(std::int64_t value, std::int64_t lowest, const char* what) const {
  if (value < lowest || value > extent_limit)
    fail(fmt::format("{} {} is out of range", what, value), "check the model");
  return int(value);
}

void Node::fail(const std::string& why, const std::string& what_to_do) const {
  throw Error(fmt::format("cannot import node '{}' ({}) of '{}'", name_, op(), file_), why, what_to_do);
}

}  // namespace bitcluster
