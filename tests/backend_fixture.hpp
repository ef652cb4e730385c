#pragma once

#include <gtest/gtest.h>

#include <ostream>

#include "host/base/parallel.hpp"
#include "host/cpu/backend.hpp"
#include "host/cpu/kernels.hpp"
#include "tests/naive_integer.hpp"
#include "tests/network_builder.hpp"

namespace bitcluster {

/// A backend under test: `make` gives null, and says why, where it cannot run here.
struct TestedBackend {
  const char* name;
  std::unique_ptr<Backend> (*make)(const char* name, std::string& why_not);
};

/// For the names of tests: without it googletest prints addresses.
inline void PrintTo(const TestedBackend& tested, std::ostream* out) { *out << tested.name; }

/// Runs a test once per backend and instruction set; skips what this machine lacks.
class BackendFixture : public testing::TestWithParam<TestedBackend> {
 protected:
  void SetUp() override {
    std::string why_not;
    backend_ = GetParam().make(GetParam().name, why_not);
    if (!backend_) GTEST_SKIP() << why_not;
    threads_ = thread_count();
  }
  void TearDown() override {
    if (threads_ > 0) set_thread_count(threads_);
  }

  std::vector<float> evaluate(const IntegerNetwork& network, const std::vector<std::uint8_t>& pixels,
                              const std::vector<Variant>& variants = {Variant{}}) {
    const int count = int(pixels.size() / network.network.input().size());
    std::vector<float> logits(variants.size() * count * network.network.classes());
    backend_->load(network);
    backend_->evaluate({pixels.data(), count}, variants, logits);
    return logits;
  }

  /// Compares the logits with those of the naive reference, all bits.
  void expect_naive(const IntegerNetwork& network, const std::vector<std::uint8_t>& pixels) {
    const int count = int(pixels.size() / network.network.input().size());
    EXPECT_EQ(evaluate(network, pixels), naive::evaluate(network, {}, pixels.data(), count));
  }

  std::unique_ptr<Backend> backend_;
  int threads_ = 0;
};

inline std::unique_ptr<Backend> make_set(const char* name, std::string& why_not) {
  if (find_kernels(name)) return make_cpu_backend(name);
  why_not = std::string("this processor has no ") + name;
  return nullptr;
}
inline const auto instruction_sets = testing::Values(
    TestedBackend{"portable", make_set}, TestedBackend{"avx2", make_set}, TestedBackend{"avx512-vnni", make_set});

/// Test names may not hold a dash.
inline std::string name_of(const testing::TestParamInfo<TestedBackend>& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace bitcluster
