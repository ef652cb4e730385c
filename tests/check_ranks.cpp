// Run under mpirun by CTest with several rank counts: every rank must see every result, once, in task order, the root's
// bytes and the root's failures.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <thread>

#include "harness/ranks/ranks.hpp"
#include "harness/ranks/shared_preparation.hpp"
#include "host/base/error.hpp"
#include "host/cpu/quantize.hpp"

using namespace bitcluster;

namespace {

/// Ends all ranks where one did not get what it should: the others would wait for it.
void require(const Ranks& ranks, bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "rank %d of %d did not get %s\n", ranks.rank(), ranks.size(), what);
  ranks.abort();
}

/// The root's bytes arrive everywhere, whole and in several messages with a shorter last one.
bool broadcast_is_right(const Ranks& ranks) {
  for (const std::size_t size : {0, 1, 4096, 1000003}) {
    for (const std::size_t chunk : {std::size_t(4096), std::size_t(1) << 30}) {
      const auto expected = [&](std::size_t i) { return std::byte((i * 2654435761u + size) >> 13); };
      std::vector<std::byte> bytes(size, std::byte(0xee));
      if (ranks.root()) {
        for (std::size_t i = 0; i < size; ++i) bytes[i] = expected(i);
      }
      ranks.broadcast(bytes, chunk);
      for (std::size_t i = 0; i < size; ++i) {
        if (bytes[i] != expected(i)) return false;
      }
    }
  }
  return true;
}

/// An action runs on the root alone, and its failure is one of all ranks, with the same message.
bool failure_reaches_all(const Ranks& ranks) {
  int runs = 0;
  ranks.on_root([&] { ++runs; });
  if (runs != (ranks.root() ? 1 : 0)) return false;
  const std::string expected = "file: " + std::string(5000, 'x') + "; look";
  try {
    ranks.on_root([] { throw Error("file", std::string(5000, 'x'), "look"); });
  } catch (const std::exception& error) {
    return error.what() == expected;
  }
  return false;
}

/// An action runs on all ranks; what the last one throws, alone or with others, is thrown on all.
bool failure_of_any_reaches_all(const Ranks& ranks) {
  int runs = 0;
  ranks.on_all([&] { ++runs; });
  if (runs != 1) return false;
  for (const int first : {ranks.size() - 1, ranks.size() / 2}) {
    try {
      ranks.on_all([&] {
        if (ranks.rank() >= first) throw Error("rank " + std::to_string(ranks.rank()), "broken", "look");
      });
      return false;
    } catch (const std::exception& error) {
      const std::string text = "rank " + std::to_string(first) + ": broken; look";
      const std::string where = first == 0 ? "" : "rank " + std::to_string(first) + " on " + ranks.host() + ": ";
      const bool own = ranks.root() && first == 0;  // as it was thrown
      if (error.what() != (own ? text : where + text)) return false;
    }
  }
  return true;
}

/// Layers whose filters are fewer than the ranks, many, and too small to be shared.
bool shared_quantization_is_right(const Ranks& ranks) {
  std::mt19937 random(1);
  const Quantizer shared = shared_quantizer(ranks, quantize);
  for (const auto& [filters, length] : {std::pair{3, 40000}, {100, 1001}, {8, 9}}) {
    std::vector<float> weights(std::size_t(filters) * length), minimums(filters);
    for (float& weight : weights) weight = std::normal_distribution<float>()(random);
    for (float& minimum : minimums) minimum = std::uniform_real_distribution<float>(0, 0.05f)(random);
    for (const bool per_channel : {true, false}) {
      WeightFormat format = bitcluster_format(2);
      format.per_channel = per_channel;
      const QuantizedWeights expected = quantize(weights, filters, format, minimums);
      const QuantizedWeights found = shared(weights, filters, format, minimums);
      if (found.format != expected.format || found.values != expected.values || found.scales != expected.scales) {
        return false;
      }
    }
  }
  return true;
}

/// Three images: with four ranks one has none.
bool shared_calibration_is_right(const Ranks& ranks) {
  Network network;
  network.layers.push_back({"image", Input{}, {}, {2, 5, 5}});
  Convolution convolution;
  convolution.filters = 2;
  convolution.weights = {1, -0.5f, 0.25f, 2};
  convolution.bias = {0.125f, -1};
  network.layers.push_back({"layer", convolution, {0}, {2, 5, 5}});
  std::mt19937 random(1);
  std::vector<std::uint8_t> pixels(3 * 50);
  for (std::uint8_t& pixel : pixels) pixel = std::uint8_t(random());
  const Images images("calibration", {2, 5, 5}, {0, 0, 0}, pixels);
  std::vector<float> table(2 * 256);
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = float(i % 256) / 128 - 1;
  for (const CalibrationMethod method :
       {CalibrationMethod::maximum, CalibrationMethod::percentile, CalibrationMethod::least_squares}) {
    const Calibration expected = calibrate(network, preprocess(images, table, 0, 3), 3, method, 90);
    const Calibration found = calibrate(ranks, network, images, table, method, 90);
    for (std::size_t i = 0; i < expected.formats.size(); ++i) {
      if (found.formats[i].scale != expected.formats[i].scale) return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Ranks ranks(argc, argv);
  for (const long tasks : {0L, 1L, 3L, 100L}) {
    double last_done = 0;
    const auto work = [](long task) {
      if (task % 7 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));  // tasks cost different amounts
      Payload payload(sizeof(long) * (task % 5));                                     // empty ones included
      for (long i = 0; i < task % 5; ++i) {
        const long value = task * 1000 + i;
        std::memcpy(payload.data() + i * sizeof value, &value, sizeof value);
      }
      return payload;
    };
    const auto results = ranks.distribute({tasks, work, [&](double done) { last_done = done; }, {}, {}});
    bool right = long(results.size()) == tasks && (!ranks.root() || last_done == double(tasks));
    for (long task = 0; task < tasks; ++task) right = right && results[task] == work(task);
    require(ranks, right, "the results of all tasks");
  }
  const auto texts = ranks.gather(std::string(ranks.rank() + 1, char('a' + ranks.rank())));
  for (int rank = 0; rank < ranks.size(); ++rank) {
    require(ranks, texts[rank] == std::string(rank + 1, char('a' + rank)), "the texts of all ranks");
  }
  require(ranks, int(ranks.gather_on_node("x").size()) == ranks.local_size(), "the texts of the node");
  require(ranks, broadcast_is_right(ranks), "the root's bytes");
  require(ranks, failure_reaches_all(ranks), "the root's failure");
  require(ranks, failure_of_any_reaches_all(ranks), "the failure of some ranks");
  require(ranks, shared_quantization_is_right(ranks), "the weights of one rank alone");
  require(ranks, shared_calibration_is_right(ranks), "the scales of one rank alone");
  return 0;
}
