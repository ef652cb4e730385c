#include "harness/inputs.hpp"

#include "host/onnx_import.hpp"

namespace bitcluster {

template <class T>
void Inputs::share(std::vector<T>& values) const {
  std::size_t count = values.size();
  ranks_.broadcast(std::as_writable_bytes(std::span(&count, 1)));
  values.resize(count);
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(values));
  gpus_ ? gpus_->broadcast(bytes) : ranks_.broadcast(bytes);
}

Network Inputs::network(const std::string& path) const {
  std::vector<std::byte> file;
  ranks_.on_root([&] { file = read_onnx(path); });
  share(file);
  return import_onnx(std::move(file), path);
}

Images Inputs::images(const Dataset& data, const std::string& split, int limit, const Network& network) const {
  Images images;
  ranks_.on_root([&] {
    images = data.read(split, limit);
    check_fits(images, network);
  });
  images.split = split;
  ranks_.broadcast(std::as_writable_bytes(std::span(&images.shape, 1)));
  ranks_.broadcast(std::as_writable_bytes(std::span(&images.count, 1)));
  share(images.pixels);
  share(images.labels);
  return images;
}

}  // namespace bitcluster
