// What libFuzzer calls (https://llvm.org/docs/LibFuzzer.html). The first argument names the target:
//   fuzz TARGET [libFuzzer's own arguments]
//   fuzz --targets            names all
//   fuzz --seeds TARGET DIR   writes the inputs to begin with
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string_view>

#include "host/base/parallel.hpp"
#include "host/files/hdf5.hpp"
#include "tests/fuzz/target.hpp"

namespace bitcluster::fuzz {

void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

namespace {

constexpr std::array targets{&onnx_model, &config,  &accelerator, &technology, &data,    &idx_images,
                             &idx_labels, &cifar10, &packed,      &trace,      &results, &journal};

const Target* chosen = nullptr;
std::filesystem::path folder;

const Target& target_named(std::string_view name) {
  for (const Target* target : targets) {
    if (target->name == name) return *target;
  }
  std::cerr << "there is no target '" << name << "'; --targets lists them\n";
  std::exit(2);
}

void write_seeds(const Target& target, const std::filesystem::path& to) {
  std::filesystem::create_directories(to);
  int number = 0;
  for (const std::string& seed : target.seeds(folder)) write_file(to / ("seed" + std::to_string(number++)), seed);
}

/// Takes the arguments that are not libFuzzer's.
void choose(int& count, char** arguments) {
  folder = std::filesystem::temp_directory_path() / ("bitcluster_fuzz_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::atexit([] { std::filesystem::remove_all(folder); });
  set_thread_count(1);
  silence_hdf5();
  const std::string_view first = count > 1 ? arguments[1] : "";
  if (first == "--targets") {
    for (const Target* target : targets) std::cout << target->name << "\n";
    std::exit(0);
  }
  if (first == "--seeds" && count == 4) {
    write_seeds(target_named(arguments[2]), arguments[3]);
    std::exit(0);
  }
  chosen = &target_named(first);
  for (int i = 2; i <= count; ++i) arguments[i - 1] = arguments[i];  // with the null at the end
  --count;
}

}  // namespace
}  // namespace bitcluster::fuzz

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  bitcluster::fuzz::choose(*count, *arguments);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  try {
    bitcluster::fuzz::chosen->run({reinterpret_cast<const char*>(bytes), size}, bitcluster::fuzz::folder);
  } catch (const bitcluster::Error&) {
  }
  return 0;
}

#ifdef BITCLUSTER_LIBFUZZER
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* bytes, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* bytes, std::size_t size, std::size_t most, unsigned seed) {
  const auto mutate = bitcluster::fuzz::chosen->mutate;
  constexpr unsigned of_bytes = 8;  // one of so many changes takes no notice of the structure
  if (!mutate || seed % of_bytes == 0) return LLVMFuzzerMutate(bytes, size, most);
  std::mt19937 random(seed);
  const std::string changed = mutate({reinterpret_cast<const char*>(bytes), size}, random);
  if (changed.empty() || changed.size() > most) return LLVMFuzzerMutate(bytes, size, most);
  std::copy(changed.begin(), changed.end(), bytes);
  return changed.size();
}
#else
// Compilers without libFuzzer: fuzz TARGET [FILE | FOLDER]... runs the seeds, which must be valid inputs, then the
// files.
int main(int count, char** arguments) {
  LLVMFuzzerInitialize(&count, &arguments);
  using namespace bitcluster::fuzz;
  for (const std::string& seed : chosen->seeds(folder)) chosen->run(seed, folder);
  const auto run = [](const std::filesystem::path& path) {
    std::cout << path.string() << std::endl;  // before it can crash
    const std::string input = read_file(path);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
  };
  for (int i = 1; i < count; ++i) {
    if (!std::filesystem::is_directory(arguments[i])) {
      run(arguments[i]);
    } else {
      for (const auto& entry : std::filesystem::directory_iterator(arguments[i])) run(entry.path());
    }
  }
}
#endif
