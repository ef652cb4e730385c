#include "tests/dataset_files.hpp"
#include "tests/fuzz/target.hpp"

// Files of images: idx (images and labels, plain or compressed), cifar10, packed.
namespace bitcluster::fuzz {
namespace {

namespace fs = std::filesystem;

std::string text_of(const Bytes& bytes) { return {bytes.begin(), bytes.end()}; }

std::string compressed(const std::string& bytes, const fs::path& folder) {
  const std::string path = folder / "seed.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), unsigned(bytes.size()));
  gzclose(file);
  return read_file(path);
}

/// Everything that the program reads of a split.
void read_split(const fs::path& folder, const std::string& format, const char* colours, const std::string& files) {
  write_file(folder / "data.toml", "format = '" + format + "'\n" + colours + "[splits.test]\nfiles = " + files + "\n");
  const Dataset dataset = Dataset::load(folder / "data.toml");
  dataset.contents("test");
  constexpr int most = 100;  // as many images as take a moment
  const Images images = dataset.read("test", most);
  constexpr std::size_t most_pixels = 1 << 22;
  if (images.shape.size() * std::size_t(images.count) <= most_pixels) {
    preprocess(images, dataset.input_table(), 0, images.count);
  }
}

/// The files of an idx split; what is not the input is what fits the seeds.
void run_idx(const std::string& images, const std::string& labels, const fs::path& folder) {
  write_file(folder / "images", images);
  write_file(folder / "labels", labels);
  read_split(folder, "idx", gray, "['images', 'labels']");
}

void run_idx_images(const std::string& input, const fs::path& folder) {
  run_idx(input, text_of(bitcluster::idx_labels(3)), folder);
}

void run_idx_labels(const std::string& input, const fs::path& folder) {
  run_idx(text_of(bitcluster::idx_images(3, 2, 2)), input, folder);
}

void run_cifar10(const std::string& input, const fs::path& folder) {
  write_file(folder / "batch.bin", input);
  read_split(folder, "cifar10", rgb, "['batch.bin']");
}

void run_packed(const std::string& input, const fs::path& folder) {
  write_file(folder / "packed.h5", input);
  read_split(folder, "packed", rgb, "['packed.h5']");
}

std::vector<std::string> packed_seeds(const fs::path& folder) {
  const std::string path = folder / "seed.h5";
  write_packed(path, Bytes(3 * 2 * 2 * 3, 7), {3, 2, 2, 3}, {0, 1, 2});
  return {read_file(path)};
}

}  // namespace

const Target idx_images{"idx_images",
                        [](const fs::path& folder) {
                          const std::string plain = text_of(bitcluster::idx_images(3, 2, 2));
                          return std::vector{plain, compressed(plain, folder)};
                        },
                        run_idx_images};

const Target idx_labels{"idx_labels",
                        [](const fs::path& folder) {
                          const std::string plain = text_of(bitcluster::idx_labels(3));
                          return std::vector{plain, compressed(plain, folder)};
                        },
                        run_idx_labels};

const Target cifar10{"cifar10", [](const fs::path&) { return std::vector{std::string(3073 * 2, '\3')}; }, run_cifar10};

const Target packed{"packed", packed_seeds, run_packed};

}  // namespace bitcluster::fuzz
