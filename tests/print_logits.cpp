// print_logits MODEL.onnx IMAGES.f32 COUNT OUT.f32
// Float32 logits (count, classes) of preprocessed images (count, h, w, c), both as raw float32 in the machine's byte
// order. tests/test_float_logits.py compares them with PyTorch.
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/cpu/float_network.hpp"
#include "host/onnx/import.hpp"

namespace {

using bitcluster::Error;

void print_logits(const std::string& model, const std::string& images_path, int count, const std::string& out_path) {
  const bitcluster::Network network = bitcluster::import_onnx(model);
  std::vector<float> images(count * network.input().size());
  const std::streamsize bytes = std::streamsize(images.size() * sizeof(float));
  std::ifstream file(images_path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() != bytes) {
    throw Error(images_path, "it is not readable or does not hold " + std::to_string(bytes) + " bytes",
                "give COUNT images of the network's input shape as float32");
  }
  file.seekg(0);
  file.read(reinterpret_cast<char*>(images.data()), bytes);

  const std::vector<float> logits = bitcluster::run_float(network, images, count);
  std::ofstream out(out_path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(logits.data()), std::streamsize(logits.size() * sizeof(float)));
  out.close();
  if (!out) throw Error(out_path, "it cannot be written", "check the folder and the space left");
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count != 5) throw Error("arguments", "there must be four", "print_logits MODEL.onnx IMAGES.f32 COUNT OUT.f32");
    print_logits(arguments[1], arguments[2], std::stoi(arguments[3]), arguments[4]);
  } catch (const std::exception& error) {
    std::cerr << "print_logits: " << error.what() << "\n";
    return 1;
  }
}
