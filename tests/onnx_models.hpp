#pragma once

// libonnx needs to know how it was built
#define ONNX_NAMESPACE onnx
#define ONNX_ML 1
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <fstream>
#include <initializer_list>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/cpu/float_network.hpp"
#include "host/onnx/import.hpp"

/// Small ONNX models made in the test, and what is asked of the networks that become of them.
namespace bitcluster {

using Ints = std::vector<std::int64_t>;
using Floats = std::vector<float>;

/// One node under construction.
struct NodeBuilder {
  onnx::NodeProto* node;

  onnx::AttributeProto* attribute(const std::string& name, onnx::AttributeProto::AttributeType type) {
    auto* added = node->add_attribute();
    added->set_name(name);
    added->set_type(type);
    return added;
  }
  NodeBuilder& integer(const std::string& name, std::int64_t value) {
    attribute(name, onnx::AttributeProto::INT)->set_i(value);
    return *this;
  }
  NodeBuilder& integers(const std::string& name, const Ints& values) {
    auto* added = attribute(name, onnx::AttributeProto::INTS);
    for (const std::int64_t value : values) added->add_ints(value);
    return *this;
  }
  NodeBuilder& number(const std::string& name, float value) {
    attribute(name, onnx::AttributeProto::FLOAT)->set_f(value);
    return *this;
  }
  NodeBuilder& text(const std::string& name, const std::string& value) {
    attribute(name, onnx::AttributeProto::STRING)->set_s(value);
    return *this;
  }
};

/// A model with input "x" and output "y".
struct ModelBuilder {
  onnx::ModelProto model;

  explicit ModelBuilder(const Ints& input = {1, 2, 4, 4}, int opset = 13) {
    model.set_ir_version(7);
    model.add_opset_import()->set_version(opset);
    add_input("x", input);
    model.mutable_graph()->add_output()->set_name("y");
  }

  void add_input(const std::string& name, const Ints& dims) {
    auto* input = model.mutable_graph()->add_input();
    input->set_name(name);
    auto* type = input->mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    for (const std::int64_t extent : dims) {
      auto* dim = type->mutable_shape()->add_dim();
      extent < 0 ? dim->set_dim_param("open") : dim->set_dim_value(extent);
    }
  }

  /// The node is named after its operator and first output.
  NodeBuilder node(const std::string& op, const std::vector<std::string>& inputs,
                   const std::vector<std::string>& outputs) {
    auto* added = model.mutable_graph()->add_node();
    added->set_op_type(op);
    added->set_name(op + "_" + outputs[0]);
    for (const auto& name : inputs) added->add_input(name);
    for (const auto& name : outputs) added->add_output(name);
    return {added};
  }

  onnx::TensorProto* tensor(const std::string& name, const Ints& dims, int type) {
    auto* added = model.mutable_graph()->add_initializer();
    added->set_name(name);
    added->set_data_type(type);
    for (const std::int64_t extent : dims) added->add_dims(extent);
    return added;
  }
  void weights(const std::string& name, const Ints& dims, const Floats& values) {
    auto* added = tensor(name, dims, onnx::TensorProto::FLOAT);
    for (const float value : values) added->add_float_data(value);
  }
  void list(const std::string& name, const Ints& values) {
    auto* added = tensor(name, {std::int64_t(values.size())}, onnx::TensorProto::INT64);
    for (const std::int64_t value : values) added->add_int64_data(value);
  }

  /// A 1x1 convolution to `filters` channels whose weights count 1, 2, 3, ... and whose biases are 0.
  NodeBuilder conv(const std::string& input, const std::string& output, int channels, int filters) {
    Floats values(std::size_t(channels) * filters);
    std::iota(values.begin(), values.end(), 1.0f);
    weights("w_" + output, {filters, channels, 1, 1}, values);
    return node("Conv", {input, "w_" + output}, {output});
  }

  Network import() const { return import_bytes(model.SerializeAsString()); }

  static Network import_bytes(const std::string& bytes) {
    const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
    const std::string path = testing::TempDir() + "/" + test.test_suite_name() + "_" + test.name() + ".onnx";
    std::ofstream(path, std::ios::binary) << bytes;
    return import_onnx(path);
  }

  std::string error() const {
    try {
      import();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

/// Result for one image whose elements in (c, h, w) order are 0, 1, 2, ...; in (c, h, w) order as well.
inline Floats run(const Network& network) {
  const Shape& shape = network.input();
  Floats image(shape.size());
  for (std::size_t i = 0; i < image.size(); ++i) {
    const std::size_t plane = std::size_t(shape.height) * shape.width;
    image[i % plane * shape.channels + i / plane] = float(i);
  }
  return run_float(network, image, 1);
}

template <class Kind>
const Kind& get(const Network& network, int layer) {
  return std::get<Kind>(network.layers.at(layer).operation);
}

inline std::vector<std::size_t> kinds(const Network& network) {
  std::vector<std::size_t> indices;
  for (const Layer& layer : network.layers) indices.push_back(layer.operation.index());
  return indices;
}
// positions in Operation
inline constexpr std::size_t input_ = 0, conv_ = 1, pool_ = 2, add_ = 3, multiply_ = 4, concat_ = 5, rearrange_ = 6,
                             function_ = 7;
using Kinds = std::vector<std::size_t>;

inline void expect_in(const std::string& message, std::initializer_list<const char*> parts) {
  for (const char* part : parts) EXPECT_NE(message.find(part), std::string::npos) << part << " is not in: " << message;
}

inline constexpr float infinity = std::numeric_limits<float>::infinity();

}  // namespace bitcluster
