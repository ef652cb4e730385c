#include "harness/study/config.hpp"
#include "host/data/accelerator_file.hpp"
#include "host/emulation/emulator.hpp"
#include "tests/dataset_files.hpp"
#include "tests/fuzz/target.hpp"
#include "tests/random_layer.hpp"

// TOML: config, accelerator with the technology that it includes, data description.
namespace bitcluster::fuzz {
namespace {

namespace fs = std::filesystem;

const fs::path configs = fs::path(BITCLUSTER_SOURCE_DIR) / "configs";

/// Every TOML file of a folder of configs/, not of those in it.
std::vector<std::string> toml_files(const fs::path& folder) {
  std::vector<std::string> texts;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".toml") texts.push_back(read_file(entry.path()));
  }
  return texts;
}

void run_config(const std::string& input, const fs::path& folder) {
  write_file(folder / "config.toml", input);
  Config config = load_config(folder / "config.toml");
  check_search(config, {"bitcluster"});
  select_models(config, {config.models.front().name});
}

/// A small layer on whatever array was described.
void emulate_on(const fs::path& file) {
  const Accelerator accelerator = load_accelerator(file);
  std::mt19937 random(1);
  TestLayer layer = random_layer(random);
  layer.format = bitcluster_format(2);
  for (std::int16_t& weight : layer.weights) weight = std::int16_t(weight % 4);
  emulate(accelerator, layer.tensors());
}

void run_accelerator(const std::string& input, const fs::path& folder) {
  // peers name ../technology
  for (const fs::path& technology : {folder / "technology", folder / "peers/technology"}) {
    if (fs::exists(technology)) continue;
    fs::create_directories(technology);
    fs::copy(configs / "accelerators/technology/45nm.toml", technology);
  }
  write_file(folder / "peers/accelerator.toml", input);
  emulate_on(folder / "peers/accelerator.toml");
}

void run_technology(const std::string& input, const fs::path& folder) {
  fs::create_directory(folder / "technology");
  write_file(folder / "technology/45nm.toml", input);
  if (!fs::exists(folder / "tactical_e.toml")) fs::copy(configs / "accelerators/tactical_e.toml", folder);
  emulate_on(folder / "tactical_e.toml");
}

std::vector<std::string> data_seeds(const fs::path&) {
  return {std::string("format = 'idx'\n") + gray +
              "[splits.search]\nfiles = ['images', 'labels']\nfirst = 0\ncount = 2\n"
              "[splits.test]\nfiles = ['images', 'labels']\nfirst = 2\ncount = 1\n",
          std::string("format = 'cifar10'\n") + rgb +
              "[splits.train]\nfiles = ['a.bin', 'b.bin']\nfirst = 1\ncount = 2\n"
              "[splits.test]\nfiles = ['c.bin']\n"};
}

void write_bytes(const fs::path& path, const Bytes& bytes) { write_file(path, {bytes.begin(), bytes.end()}); }

void run_data(const std::string& input, const fs::path& folder) {
  if (!fs::exists(folder / "images")) {  // what the seeds name
    write_bytes(folder / "images", bitcluster::idx_images(3, 2, 2));
    write_bytes(folder / "labels", bitcluster::idx_labels(3));
    for (const char* name : {"a.bin", "b.bin", "c.bin"}) write_bytes(folder / name, Bytes(2 * 3073, 3));
  }
  write_file(folder / "data.toml", input);
  const Dataset dataset = Dataset::load(folder / "data.toml");
  dataset.input_table();
  for (const std::string& split : dataset.splits()) {
    for (const std::string& other : dataset.splits()) dataset.overlap(split, other);
    dataset.files(split);
    dataset.read(split, 2);
  }
}

}  // namespace

const Target config{"config", [](const fs::path&) { return toml_files(configs); }, run_config};

const Target accelerator{"accelerator",
                         [](const fs::path&) {
                           std::vector<std::string> seeds = toml_files(configs / "accelerators");
                           for (std::string& peer : toml_files(configs / "accelerators/peers")) seeds.push_back(peer);
                           return seeds;
                         },
                         run_accelerator};

const Target technology{"technology", [](const fs::path&) { return toml_files(configs / "accelerators/technology"); },
                        run_technology};

const Target data{"data", data_seeds, run_data};

}  // namespace bitcluster::fuzz
