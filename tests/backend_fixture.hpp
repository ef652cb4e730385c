#pragma once

#include <gtest/gtest.h>

#include "host/cpu_kernels.hpp"
#include "host/parallel.hpp"
#include "tests/naive_integer.hpp"
#include "tests/network_builder.hpp"

namespace bitcluster {

/// Runs a test once per instruction set; skips what this processor lacks.
class CpuBackendTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!find_kernels(GetParam())) GTEST_SKIP() << "this processor has no " << GetParam();
    backend_ = make_cpu_backend(GetParam());
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

inline const auto instruction_sets = testing::Values("portable", "avx2", "avx512-vnni");

/// Test names may not hold a dash.
inline std::string name_of(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace bitcluster
