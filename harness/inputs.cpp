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

std::shared_ptr<const Images> Inputs::images(const Dataset& data, const std::string& split, int limit,
                                             const Network& network, std::optional<std::uint64_t> seed) const {
  std::weak_ptr<const Images>& known = read_[{data.path(), split, limit, seed}];
  std::shared_ptr<const Images> result = known.lock();
  if (!result) {
    Images images;
    ranks_.on_root([&] { images = data.read(split, limit); });
    images.split = split;
    ranks_.broadcast(std::as_writable_bytes(std::span(&images.shape, 1)));
    ranks_.broadcast(std::as_writable_bytes(std::span(&images.count, 1)));
    share(images.pixels);
    share(images.labels);
    if (seed) shuffle(images, *seed);
    known = result = std::make_shared<const Images>(std::move(images));
  }
  check_fits(*result, network);
  return result;
}

}  // namespace bitcluster
