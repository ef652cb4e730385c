// time_evaluation MODEL.onnx IMAGES.u8 COUNT REPEATS [INSTRUCTION_SET]
// Speed of the integer evaluation with 8-bit weights on byte images (count, h, w, c); prints one line of JSON.
// analysis/compare_pytorch.py sets it beside PyTorch.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/cpu/backend.hpp"
#include "host/cpu/calibrate.hpp"
#include "host/cpu/quantize.hpp"
#include "host/inference/backend.hpp"
#include "host/inference/integer_network.hpp"
#include "host/onnx/import.hpp"

namespace {

using bitcluster::Error;

// enough for a plausible range; speed does not depend on it
constexpr int calibration_images = 16;

std::vector<std::uint8_t> read_pixels(const std::string& path, std::size_t size) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() != std::streamoff(size)) {
    throw Error(path, "it is not readable or does not hold " + std::to_string(size) + " bytes",
                "give COUNT images of the network's input shape as bytes");
  }
  std::vector<std::uint8_t> pixels(size);
  file.seekg(0);
  file.read(reinterpret_cast<char*>(pixels.data()), std::streamsize(size));
  return pixels;
}

void time_evaluation(const std::string& model, const std::string& images_path, int count, int repeats,
                     const std::string& instruction_set) {
  if (count < 1 || repeats < 1)
    throw Error("arguments", "COUNT and REPEATS must be positive", "give both as 1 or more");
  const bitcluster::Network network = bitcluster::import_onnx(model);
  const std::vector<std::uint8_t> pixels = read_pixels(images_path, count * network.input().size());

  bitcluster::InputTable table(network.input().channels * 256);
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = float(i % 256) / 255;
  const int calibrated = std::min(count, calibration_images);
  std::vector<float> images(calibrated * network.input().size());
  std::transform(pixels.begin(), pixels.begin() + std::ptrdiff_t(images.size()), images.begin(),
                 [](std::uint8_t v) { return float(v) / 255; });
  const bitcluster::Calibration calibration =
      bitcluster::calibrate(network, images, calibrated, bitcluster::CalibrationMethod::maximum);
  const bitcluster::IntegerNetwork integer =
      bitcluster::make_integer(network, calibration, bitcluster::WeightFormat{}, table, bitcluster::quantize);

  const auto backend = bitcluster::make_cpu_backend(instruction_set);
  backend->load(integer);
  const std::vector<bitcluster::Variant> reference(1);
  std::vector<float> logits(std::size_t(count) * network.classes());
  const bitcluster::ImageBatch batch{pixels.data(), count};
  backend->evaluate(batch, reference, logits);  // warm-up

  std::cout << R"({"backend": ")" << backend->description() << R"(", "images_per_second": [)";
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    backend->evaluate(batch, reference, logits);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::cout << (repeat ? ", " : "") << count / seconds.count();
  }
  std::cout << "]}\n";
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count != 5 && count != 6) {
      throw Error("arguments", "there must be four or five",
                  "time_evaluation MODEL.onnx IMAGES.u8 COUNT REPEATS [INSTRUCTION_SET]");
    }
    time_evaluation(arguments[1], arguments[2], std::stoi(arguments[3]), std::stoi(arguments[4]),
                    count == 6 ? arguments[5] : "");
  } catch (const std::exception& error) {
    std::cerr << "time_evaluation: " << error.what() << "\n";
    return 1;
  }
}
