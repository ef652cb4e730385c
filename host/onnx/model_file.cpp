#include "host/onnx/model_file.hpp"

#include <fmt/format.h>
#include <google/protobuf/stubs/logging.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string_view>
#include <utility>

#include "host/base/error.hpp"
#include "host/base/printable.hpp"
#include "host/files/posix_file.hpp"
#include "host/onnx/constant.hpp"
#include "host/onnx/import.hpp"

namespace bitcluster {
namespace {

namespace fs = std::filesystem;

/// https://protobuf.dev/programming-guides/proto-limits: no message is larger than 2 GiB.
constexpr std::uintmax_t model_limit = std::numeric_limits<std::int32_t>::max();

[[noreturn]] void fail_too_large(const std::string& path) {
  throw Error(fmt::format("cannot read '{}'", path), "it is larger than 2 GiB, with its external data",
              "use a smaller model, or float16 weights");
}

std::vector<std::byte> read_file(const std::string& path) {
  std::error_code ignored;
  if (fs::file_size(path, ignored) > model_limit && !ignored) fail_too_large(path);
  return read_input(path, model_limit);
}

template <class Visit>
void for_each_tensor(onnx::ModelProto& model, const Visit& visit) {
  for (auto& tensor : *model.mutable_graph()->mutable_initializer()) visit(tensor);
  for (auto& node : *model.mutable_graph()->mutable_node()) {
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_t()) visit(*attribute.mutable_t());
    }
  }
}

/// The data of a model's tensors that lies in other files (external data).
class ExternalData {
 public:
  /// path: of the model.
  ExternalData(onnx::ModelProto& model, const std::string& path)
      : model_(model), path_(path), folder_(fs::path(path).parent_path()), bytes_(model.ByteSizeLong()) {
    if (folder_.empty()) folder_ = ".";
  }

  /// The files, each once.
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for_each_tensor(model_, [&](const onnx::TensorProto& tensor) {
      if (tensor.external_data_size() == 0) return;
      const std::string what = what_of(tensor);
      const std::string name = file_beside(place_of(tensor, what).location, what).string();
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    });
    return names;
  }

  /// Brings their data into the model.
  void embed() {
    for_each_tensor(model_, [&](onnx::TensorProto& tensor) { embed(tensor); });
  }

 private:
  std::string what_of(const onnx::TensorProto& tensor) const {
    return fmt::format("cannot read weights '{}' of '{}'", printable(tensor.name()), path_);
  }

  struct Place {
    std::string location;
    std::uintmax_t offset = 0, length = 0;
    bool has_length = false;
  };

  void embed(onnx::TensorProto& tensor) {
    if (tensor.external_data_size() == 0) return;
    const std::string what = what_of(tensor);
    Place place = place_of(tensor, what);
    const fs::path file = file_beside(place.location, what);
    const std::string name = printable(place.location);
    remember_input(file.string());
    std::error_code ignored;
    const std::uintmax_t size = fs::file_size(file, ignored);
    const std::uintmax_t rest = size - std::min(size, place.offset);
    if (!place.has_length) place.length = rest;
    if (place.offset > size || place.length > rest) {
      throw Error(what,
                  fmt::format("bytes {} to {} of '{}' are its data, but that file has {} bytes", place.offset,
                              place.offset + place.length, name, size),
                  "copy the file again, or export the model again");
    }
    const std::size_t needed = stored_elements(tensor, what) * stored_size(tensor.data_type(), what);
    if (place.length != needed) {
      throw Error(what,
                  fmt::format("it has {} bytes of data in '{}', but its shape needs {}", place.length, name, needed),
                  "export or copy the model again");
    }
    bytes_ += place.length;
    if (bytes_ > model_limit) fail_too_large(path_);
    std::string& data = *tensor.mutable_raw_data();
    data.resize(place.length);
    std::ifstream stream(file, std::ios::binary);
    stream.seekg(std::streamoff(place.offset));
    if (!stream.read(data.data(), std::streamsize(data.size()))) {
      throw Error(what, fmt::format("'{}' is not readable", name), "check its permissions, or copy it again");
    }
    tensor.clear_external_data();
    tensor.clear_data_location();
  }

  static Place place_of(const onnx::TensorProto& tensor, const std::string& what) {
    Place place;
    for (const auto& entry : tensor.external_data()) {
      const std::string& text = entry.value();
      std::uintmax_t* number = entry.key() == "offset"   ? &place.offset
                               : entry.key() == "length" ? &place.length
                                                         : nullptr;
      if (entry.key() == "location") place.location = text;
      if (!number) continue;
      place.has_length = place.has_length || number == &place.length;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
      // files end below 2^63, so that sums stay below 2^64
      if (error != std::errc() || end != text.data() + text.size() || *number >> 63 != 0) {
        throw Error(what, fmt::format("the {} of its external data is '{}'", entry.key(), printable(text)),
                    "export the model again");
      }
    }
    return place;
  }

  /// A model may name files of its own folder only: what is elsewhere is none of its business.
  fs::path file_beside(const std::string& location, const std::string& what) const {
    const fs::path relative(location);
    const std::string name = printable(location);
    if (location.empty() || location.find('\0') != std::string::npos || relative.is_absolute() ||
        std::find(relative.begin(), relative.end(), "..") != relative.end()) {
      throw Error(what,
                  fmt::format("its data would be in '{}', which is not a path inside the folder of the model", name),
                  "save the model with its data beside it, or as one file");
    }
    std::error_code error;
    const fs::path folder = fs::canonical(folder_, error), file = fs::canonical(folder_ / relative, error);
    if (error || !fs::is_regular_file(file, error)) {
      throw Error(what, fmt::format("its data is in '{}', and there is no such file beside the model", name),
                  "copy that file, too, under the name that it was exported with");
    }
    if (std::mismatch(folder.begin(), folder.end(), file.begin(), file.end()).first != folder.end()) {
      throw Error(what, fmt::format("its data is in '{}', a link that leads out of the folder of the model", name),
                  "copy the data itself beside the model");
    }
    return file;
  }

  onnx::ModelProto& model_;
  const std::string& path_;
  fs::path folder_;
  std::uintmax_t bytes_;  //!< of the model so far
};

}  // namespace

void parse_model(const void* bytes, std::size_t size, const std::string& path, onnx::ModelProto& model) {
  const google::protobuf::LogSilencer silence;  // our own error says it
  if (!model.ParseFromArray(bytes, int(size)) || !model.has_graph()) {
    throw Error(fmt::format("cannot read '{}'", path), "it is not a complete ONNX model", "export or copy it again");
  }
}

namespace {

/// Whether a model may have external data: this key is of all that has (onnx.proto, StringStringEntryProto), and few
/// other files hold it.
bool may_have_external_data(const std::vector<std::byte>& bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return text.find("location") != std::string_view::npos;
}

}  // namespace

std::vector<std::string> external_files(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  if (!may_have_external_data(bytes)) return {};
  onnx::ModelProto model;
  parse_model(bytes.data(), bytes.size(), path, model);
  return ExternalData(model, path).files();
}

std::vector<std::byte> read_onnx(const std::string& path) {
  std::vector<std::byte> bytes = read_file(path);
  if (!may_have_external_data(bytes)) return bytes;
  onnx::ModelProto model;
  parse_model(bytes.data(), bytes.size(), path, model);
  ExternalData(model, path).embed();
  const std::size_t size = model.ByteSizeLong();
  if (size > model_limit) fail_too_large(path);
  bytes.resize(size);
  model.SerializeToArray(bytes.data(), int(size));
  return bytes;
}

}  // namespace bitcluster
