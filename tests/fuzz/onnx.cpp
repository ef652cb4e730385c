#include <google/protobuf/message.h>

#include <numeric>

#include "host/cpu/backend.hpp"
#include "host/cpu/calibrate.hpp"
#include "host/cpu/quantize.hpp"
#include "tests/fuzz/target.hpp"
#include "tests/onnx_models.hpp"

// ONNX, up to the logits of the integer network.
namespace bitcluster::fuzz {
namespace {

namespace fs = std::filesystem;

// ---- Models to begin with

ModelBuilder convolutions() {
  ModelBuilder m({1, 3, 8, 8});
  m.weights("w", {4, 3, 3, 3}, Floats(108, 0.1f));
  m.node("Conv", {"x", "w"}, {"c"}).integers("pads", {1, 1, 1, 1}).integers("strides", {2, 2});
  for (const char* name : {"gamma", "beta", "mean", "variance"}) m.weights(name, {4}, {1, 2, 3, 4});
  m.node("BatchNormalization", {"c", "gamma", "beta", "mean", "variance"}, {"b"});
  m.node("Relu", {"b"}, {"r"});
  m.node("MaxPool", {"r"}, {"p"}).integers("kernel_shape", {2, 2}).integers("strides", {2, 2});
  m.weights("d", {4, 1, 1, 1}, {1, -1, 2, -2});
  m.node("Conv", {"p", "d"}, {"q"}).integer("group", 4);
  m.node("Add", {"p", "q"}, {"s"});
  m.node("Concat", {"s", "q"}, {"k"}).integer("axis", 1);
  m.node("GlobalAveragePool", {"k"}, {"g"});
  m.node("Flatten", {"g"}, {"f"});
  m.weights("fc", {3, 8}, Floats(24, 0.5f));
  m.weights("bias", {3}, {1, 2, 3});
  m.node("Gemm", {"f", "fc", "bias"}, {"l"}).integer("transB", 1);
  m.node("Softmax", {"l"}, {"y"});
  return m;
}

/// Movements, functions and constants that are folded.
ModelBuilder movements() {
  ModelBuilder m({1, 4, 4, 4});
  m.list("shape", {1, 2, 2, 4, 4});
  m.node("Reshape", {"x", "shape"}, {"a"});
  m.node("Transpose", {"a"}, {"b"}).integers("perm", {0, 2, 1, 3, 4});
  m.list("back", {1, 4, 4, 4});
  m.node("Reshape", {"b", "back"}, {"c"});
  m.list("starts", {0, 1}), m.list("ends", {4, 3}), m.list("axes", {2, 3});
  m.node("Slice", {"c", "starts", "ends", "axes"}, {"e"});
  m.list("pads", {0, 0, 1, 1, 0, 0, 0, 0});
  m.node("Pad", {"e", "pads"}, {"h"});
  m.node("Split", {"h"}, {"i", "j"}).integer("axis", 1);
  m.node("Sigmoid", {"i"}, {"k"});
  m.node("Mul", {"k", "j"}, {"l"});
  m.weights("raw", {2, 2, 1, 1}, {1, 2, -3, 4});
  m.node("Sign", {"raw"}, {"sign"});
  m.weights("one", {1}, {0.5f});
  m.node("Mul", {"sign", "one"}, {"scaled"});
  m.node("Conv", {"l", "scaled"}, {"n"});
  m.node("LRN", {"n"}, {"o"}).integer("size", 3);
  m.node("ReduceMean", {"o"}, {"p"}).integers("axes", {2, 3}).integer("keepdims", 0);
  m.weights("fc", {2, 3}, Floats(6, 0.5f));
  m.node("MatMul", {"p", "fc"}, {"y"});
  return m;
}

ModelBuilder quantizers() {
  ModelBuilder m({1, 2, 4, 4});
  m.weights("s", {}, {0.1f});
  m.tensor("z", {}, onnx::TensorProto::INT8)->add_int32_data(3);
  m.node("QuantizeLinear", {"x", "s", "z"}, {"a"});
  m.node("DequantizeLinear", {"a", "s", "z"}, {"b"});
  auto* weights = m.tensor("w", {3, 2, 1, 1}, onnx::TensorProto::INT8);
  for (int i = 0; i < 6; ++i) weights->add_int32_data(i * 20 - 50);
  m.tensor("zero", {}, onnx::TensorProto::INT8)->add_int32_data(0);
  m.node("DequantizeLinear", {"w", "s", "zero"}, {"v"});
  m.node("Conv", {"b", "v"}, {"c"});
  m.node("QuantizeLinear", {"c", "s", "z"}, {"d"});
  m.node("QLinearConv", {"d", "s", "z", "u", "s", "zero", "s", "z"}, {"e"});
  auto* more = m.tensor("u", {2, 3, 1, 1}, onnx::TensorProto::INT8);
  for (int i = 0; i < 6; ++i) more->add_int32_data(50 - i * 20);
  m.node("DequantizeLinear", {"e", "s", "z"}, {"f"});
  m.node("GlobalMaxPool", {"f"}, {"g"});
  m.node("Flatten", {"g"}, {"y"});
  return m;
}

std::vector<std::string> seeds(const fs::path&) {
  std::vector<std::string> models;
  for (const ModelBuilder& builder : {convolutions(), movements(), quantizers()}) {
    models.push_back(builder.model.SerializeAsString());
  }
  return models;
}

// ---- What is done with them

/// Whether a network is evaluated within a moment.
bool is_small(const Network& network) {
  constexpr double most = 2e7;
  double work = 0;
  for (int index = 0; index < int(network.layers.size()); ++index) {
    const Layer& layer = network.layers[std::size_t(index)];
    double per_value = 1;
    if (const auto* pool = std::get_if<Pool>(&layer.operation)) {
      per_value = double(pool->window.kernel_h) * pool->window.kernel_w;
    } else if (const auto* norm = std::get_if<LocalResponseNorm>(&layer.operation)) {
      per_value = norm->size;
    }
    work += double(layer.output.size()) * per_value + double(multiply_accumulates(network, index));
  }
  return work <= most;
}

void run(const std::string& input, const fs::path& folder) {
  write_file(folder / "model.onnx", input);
  const Network network = import_onnx(folder / "model.onnx");
  if (!is_small(network)) return;
  std::vector<std::uint8_t> pixels(network.input().size());
  std::iota(pixels.begin(), pixels.end(), std::uint8_t(0));
  const std::vector<float> image(pixels.begin(), pixels.end());
  const Calibration calibration = calibrate(network, image, 1, CalibrationMethod::maximum);
  InputTable table(std::size_t(network.input().channels) * 256);
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = float(i % 256);
  const IntegerNetwork integer = make_integer(network, calibration, WeightFormat{}, table, quantize);
  const auto backend = make_cpu_backend();
  backend->load(integer);
  Variant clustered;
  for (const int layer : weighted_layers(network)) {
    clustered.push_back({layer, std::make_shared<const QuantizedWeights>(
                                    quantize_layer(integer, layer, bitcluster_format(1), quantize))});
  }
  std::vector<float> logits(2 * std::size_t(network.classes()));
  backend->evaluate({pixels.data(), 1}, std::vector<Variant>{{}, clustered}, logits);
}

// ---- Changes within the structure

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

/// One value, or one element of a list, somewhere in a model.
struct Place {
  Message* message;
  const FieldDescriptor* field;
  int index;  // of the element; -1: a single value
};

void collect(Message& message, std::vector<Place>& places) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (!field->is_repeated()) {
      places.push_back({&message, field, -1});
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        collect(*reflection->MutableMessage(&message, field), places);
      }
      continue;
    }
    constexpr int most = 20;  // elements of a tensor, so that its data do not outweigh all else
    const int count = reflection->FieldSize(message, field);
    const bool messages = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    for (int i = 0; i < (messages ? count : std::min(count, most)); ++i) {
      places.push_back({&message, field, i});
      if (messages) collect(*reflection->MutableRepeatedMessage(&message, field, i), places);
    }
  }
}

std::int64_t interesting(std::mt19937& random) {
  constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t values[] = {-largest - 1,
                                     -(1LL << 31),
                                     -65536,
                                     -2,
                                     -1,
                                     0,
                                     1,
                                     2,
                                     3,
                                     4,
                                     5,
                                     7,
                                     8,
                                     16,
                                     255,
                                     256,
                                     65535,
                                     65536,
                                     1LL << 20,
                                     1LL << 24,
                                     1LL << 28,
                                     1LL << 31,
                                     1LL << 32,
                                     1LL << 40,
                                     1LL << 62,
                                     largest};
  return values[random() % std::size(values)];
}

float interesting_float(std::mt19937& random) {
  constexpr float values[] = {0,
                              -0.0f,
                              1,
                              -1,
                              0.5f,
                              -0.5f,
                              1e-45f,
                              1e-30f,
                              1e30f,
                              3.4e38f,
                              infinity,
                              -infinity,
                              std::numeric_limits<float>::quiet_NaN()};
  return values[random() % std::size(values)];
}

/// Calls the setter of a single value or of an element.
#define BITCLUSTER_SET(type, value)                                          \
  place.index < 0 ? reflection->Set##type(place.message, place.field, value) \
                  : reflection->SetRepeated##type(place.message, place.field, place.index, value)
#define BITCLUSTER_GET(type)                                            \
  (place.index < 0 ? reflection->Get##type(*place.message, place.field) \
                   : reflection->GetRepeated##type(*place.message, place.field, place.index))

std::string text_of(const Place& place) {
  const auto* reflection = place.message->GetReflection();
  return BITCLUSTER_GET(String);
}

/// Another text of the same kind in the model, so that nodes are wired anew and operators exchanged, or changed bytes.
std::string other_text(const Place& place, const std::vector<Place>& places, std::mt19937& random) {
  std::string text = text_of(place);
  if (place.field->type() == FieldDescriptor::TYPE_BYTES && random() % 4 != 0 && !text.empty()) {
    if (random() % 4 == 0) text.resize(random() % (2 * text.size()));
    for (int i = 0; i < 4 && !text.empty(); ++i) text[random() % text.size()] = char(random());
    return text;
  }
  static const char* const operators[] = {"Relu",
                                          "Clip",
                                          "Sigmoid",
                                          "Add",
                                          "Sub",
                                          "Mul",
                                          "Div",
                                          "Max",
                                          "Min",
                                          "Sum",
                                          "Mean",
                                          "Concat",
                                          "Split",
                                          "Slice",
                                          "Gather",
                                          "Transpose",
                                          "Reshape",
                                          "Flatten",
                                          "Squeeze",
                                          "Unsqueeze",
                                          "Expand",
                                          "Tile",
                                          "Pad",
                                          "Resize",
                                          "MaxPool",
                                          "AveragePool",
                                          "Conv",
                                          "Gemm",
                                          "MatMul",
                                          "Softmax",
                                          "Shape",
                                          "ConstantOfShape",
                                          "Range",
                                          "Cast",
                                          "Where",
                                          "Equal",
                                          "ReduceMean",
                                          "ReduceSum",
                                          "Pow",
                                          "Sqrt",
                                          "Exp",
                                          "Identity",
                                          "Dropout",
                                          "PRelu",
                                          "Elu",
                                          "HardSwish",
                                          "LayerNormalization",
                                          "InstanceNormalization",
                                          "QuantizeLinear",
                                          "DequantizeLinear",
                                          "QLinearConv",
                                          "QLinearMatMul",
                                          "QLinearAdd",
                                          "DepthToSpace",
                                          "SpaceToDepth",
                                          "LRN"};
  if (place.field->name() == "op_type" && random() % 2) return operators[random() % std::size(operators)];
  std::vector<std::string> others;
  for (const Place& other : places) {
    if (other.field->cpp_type() == FieldDescriptor::CPPTYPE_STRING && other.field->type() == place.field->type()) {
      others.push_back(text_of(other));
    }
  }
  return others[random() % others.size()];
}

void change_list(const Place& place, std::mt19937& random) {
  const auto* reflection = place.message->GetReflection();
  const int count = reflection->FieldSize(*place.message, place.field);
  switch (random() % 3) {
    case 0:
      return reflection->SwapElements(place.message, place.field, place.index, int(random() % unsigned(count)));
    case 1:
      reflection->SwapElements(place.message, place.field, place.index, count - 1);
      return reflection->RemoveLast(place.message, place.field);
    default:
      if (place.field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        Message* added = reflection->AddMessage(place.message, place.field);
        added->CopyFrom(reflection->GetRepeatedMessage(*place.message, place.field, place.index));
      } else if (place.field->cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
        reflection->AddInt64(place.message, place.field, interesting(random));
      } else if (place.field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        reflection->AddString(place.message, place.field, text_of(place));
      }
  }
}

void change_value(const Place& place, const std::vector<Place>& places, std::mt19937& random) {
  const auto* reflection = place.message->GetReflection();
  switch (place.field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT64:
      return BITCLUSTER_SET(Int64, random() % 2
                                       ? interesting(random)
                                       : std::int64_t(std::uint64_t(BITCLUSTER_GET(Int64)) + random() % 5 - 2));
    case FieldDescriptor::CPPTYPE_INT32:
      return BITCLUSTER_SET(Int32, random() % 2 ? int(interesting(random)) : int(random() % 20));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return BITCLUSTER_SET(Float, interesting_float(random));
    case FieldDescriptor::CPPTYPE_ENUM:
      return BITCLUSTER_SET(EnumValue, int(random() % 16));
    case FieldDescriptor::CPPTYPE_STRING:
      return BITCLUSTER_SET(String, other_text(place, places, random));
    default:
      reflection->ClearField(place.message, place.field);
  }
}

std::string mutate(const std::string& input, std::mt19937& random) {
  onnx::ModelProto model;
  if (!model.ParseFromString(input)) return "";
  for (unsigned changes = 1 + random() % 3; changes > 0; --changes) {
    std::vector<Place> places;
    collect(model, places);
    if (places.empty()) return "";
    const Place& place = places[random() % places.size()];
    const bool is_message = place.field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (place.index >= 0 && (is_message || random() % 3 == 0)) {
      change_list(place, random);
    } else if (!is_message || random() % 4 == 0) {
      change_value(place, places, random);
    }
  }
  return model.SerializeAsString();
}

}  // namespace

const Target onnx_model{"onnx", seeds, run, mutate};

}  // namespace bitcluster::fuzz
