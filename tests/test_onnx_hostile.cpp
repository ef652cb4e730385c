#include <sys/resource.h>

#include <cmath>
#include <ctime>
#include <functional>

#include "host/base/printable.hpp"
#include "tests/onnx_models.hpp"

// Models that ask for much, or for nothing sensible, end soon, with one error, without filling the memory.
namespace bitcluster {
namespace {

/// Sanitizers make import about five times slower.
#ifdef __clang__
constexpr bool sanitized = __has_feature(address_sanitizer);
#else
constexpr bool sanitized = false;
#endif
constexpr double slower = sanitized ? 5 : 1;

/// The error of a model, which must come within 10 s (of the processor, since others may use the machine) and 2 GB.
std::string soon(const ModelBuilder& m) {
  const std::clock_t begin = std::clock();
  const std::string error = m.error();
  EXPECT_LT(double(std::clock() - begin) / CLOCKS_PER_SEC, 10 * slower);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  EXPECT_LT(usage.ru_maxrss, 2'000'000) << "kB at most so far";
  return error;
}

/// Pools "last" and gives it to a Gemm.
void classify(ModelBuilder& m, const std::string& last) {
  m.node("GlobalAveragePool", {last}, {"pooled"});
  m.node("Flatten", {"pooled"}, {"flat"});
  m.weights("classes", {3, 1}, {1, 1, 1});
  m.node("Gemm", {"flat", "classes"}, {"y"}).integer("transB", 1);
}

std::string numbered(const char* name, int i) { return i < 0 ? "x" : name + std::to_string(i); }

TEST(OnnxHostile, TransposesOfALargeTensor) {
  ModelBuilder m({1, 1, 8191, 8192});
  for (int i = 0; i < 20; ++i) {
    m.node("Transpose", {numbered("t", i - 1)}, {numbered("t", i)}).integers("perm", {0, 1, 3, 2});
  }
  classify(m, "t19");
  expect_in(soon(m), {"Transpose_t", "MiB", "moved elements"});
}

TEST(OnnxHostile, FunctionsOfATransposedTensor) {
  ModelBuilder m({1, 1, 4095, 4096});
  m.node("Transpose", {"x"}, {"t-"}).integers("perm", {0, 1, 3, 2});
  m.node("Identity", {"t-"}, {"t0"});
  for (int i = 1; i < 1000; ++i) m.node("Sigmoid", {numbered("t", i - 1)}, {numbered("t", i)});
  classify(m, "t999");
  expect_in(soon(m), {"MiB", "moved elements"});
}

TEST(OnnxHostile, ConstantsAddedToALargeTensor) {
  ModelBuilder m({1, 1, 4095, 4096});
  m.weights("ones", {4096}, Floats(4096, 1));
  for (int i = 0; i < 1000; ++i) m.node("Add", {numbered("t", i - 1), "ones"}, {numbered("t", i)});
  classify(m, "t999");
  expect_in(soon(m), {"Add_t", "MiB"});
}

TEST(OnnxHostile, ManyLargeConstants) {
  ModelBuilder m({1, 1, 2048, 2048});
  m.list("shape", {1, 1, 2048, 2048});
  for (int i = 0; i < 600; ++i) m.node("ConstantOfShape", {"shape"}, {numbered("c", i)});
  m.node("Add", {"x", "c0"}, {"a0"});
  for (int i = 1; i < 600; ++i) m.node("Add", {numbered("a", i - 1), numbered("c", i)}, {numbered("a", i)});
  classify(m, "a599");
  expect_in(soon(m), {"ConstantOfShape_c", "a model of this size may hold"});
}

TEST(OnnxHostile, ConvolutionsThatShareOneLargeConstant) {
  ModelBuilder m({1, 32, 1, 1});
  m.list("shape", {65536, 32, 1, 1});
  m.node("ConstantOfShape", {"shape"}, {"w"});
  for (int i = 0; i < 400; ++i) {
    m.node("Conv", {"x", "w"}, {numbered("c", i)});
    m.node("GlobalAveragePool", {numbered("c", i)}, {numbered("g", i)});
    if (i > 0) m.node("Add", {i == 1 ? "g0" : numbered("a", i - 1), numbered("g", i)}, {numbered("a", i)});
  }
  m.node("Relu", {"a399"}, {"y"});
  expect_in(soon(m), {"Conv_c", "MiB of constants"});
}

TEST(OnnxHostile, FiftyThousandNodesOfOneName) {
  ModelBuilder m({1, 1, 2, 2});
  for (int i = 0; i < 50'000; ++i) {
    m.node(i % 2 ? "Relu" : "Sigmoid", {numbered("t", i - 1)}, {numbered("t", i)}).node->set_name("same");
  }
  classify(m, "t49999");
  EXPECT_EQ(soon(m), "");
}

TEST(OnnxHostile, FiftyThousandReadersOfOneTensor) {
  ModelBuilder m({1, 1, 2, 2});
  m.list("pads", {0, 0, 1, 1, 0, 0, 1, 1});
  m.node("Pad", {"x", "pads"}, {"p"});
  m.weights("w", {1, 1, 2, 2}, {1, 2, 3, 4});
  std::vector<std::string> names;
  for (int i = 0; i < 50'000; ++i) names.push_back(numbered("c", i));
  for (const std::string& name : names) m.node("Conv", {"p", "w"}, {name});
  m.node("Concat", names, {"y"}).integer("axis", 1);
  EXPECT_EQ(soon(m), "");
}

TEST(OnnxHostile, TensorsOfManyAxes) {
  ModelBuilder m({1, 1, 2, 2});
  Ints shape(1000, 1), permutation(1000);
  shape[1] = 4;
  std::iota(permutation.begin(), permutation.end(), 0);
  m.list("shape", shape);
  m.node("Reshape", {"x", "shape"}, {"r"});
  m.node("Transpose", {"r"}, {"y"}).integers("perm", permutation);
  expect_in(soon(m), {"Reshape_r", "1000 axes"});
}

TEST(OnnxHostile, AxesThatOccurTwice) {
  ModelBuilder slice({1, 2, 4, 4});
  slice.list("twice", {2, -2}), slice.list("zeros", {0, 0}), slice.list("ones", {1, 1});
  slice.node("Slice", {"x", "zeros", "ones", "twice"}, {"y"});
  expect_in(slice.error(), {"Slice_y", "name one twice"});
  ModelBuilder pad({1, 2, 4, 4}, 18);
  pad.list("twice", {2, -2}), pad.list("pads", {1, 1, 1, 1});
  pad.node("Pad", {"x", "pads", "", "twice"}, {"y"});
  expect_in(pad.error(), {"Pad_y", "name one twice"});
}

// ---- numbers that are none

TEST(OnnxHostile, NumbersThatAreNotFinite) {
  const auto error = [](float value, const std::function<void(ModelBuilder&, float)>& add) {
    ModelBuilder m({1, 1, 2, 2});
    m.node("Sigmoid", {"x"}, {"s"});
    add(m, value);
    classify(m, "bad");
    return m.error();
  };
  for (const float value : {NAN, infinity, -infinity}) {
    expect_in(error(value,
                    [](ModelBuilder& m, float bad) {
                      m.weights("w", {1, 1, 1, 1}, {bad});
                      m.node("Conv", {"s", "w"}, {"bad"});
                    }),
              {"Conv_bad", "finite"});
    expect_in(error(value,
                    [](ModelBuilder& m, float bad) {
                      m.weights("w", {1, 1, 1, 1}, {1}), m.weights("b", {1}, {bad});
                      m.node("Conv", {"s", "w", "b"}, {"bad"});
                    }),
              {"Conv_bad", "finite"});
    for (const char* op : {"Add", "Mul", "Sub"}) {
      expect_in(error(value,
                      [&](ModelBuilder& m, float bad) {
                        m.weights("c", {}, {bad});
                        m.node(op, {"s", "c"}, {"bad"});
                      }),
                {"_bad", "finite"});
    }
    for (int parameter = 0; parameter < 4; ++parameter) {
      expect_in(error(value,
                      [&](ModelBuilder& m, float bad) {
                        for (int i = 0; i < 4; ++i) m.weights("p" + std::to_string(i), {1}, {i == parameter ? bad : 1});
                        m.node("BatchNormalization", {"s", "p0", "p1", "p2", "p3"}, {"bad"});
                      }),
                {"BatchNormalization_bad", "finite"});
    }
    for (const char* attribute : {"alpha", "beta", "bias"}) {
      expect_in(
          error(value, [&](ModelBuilder& m,
                           float bad) { m.node("LRN", {"s"}, {"bad"}).integer("size", 3).number(attribute, bad); }),
          {"LRN_bad", "finite"});
    }
    expect_in(
        error(value, [](ModelBuilder& m, float bad) { m.node("LeakyRelu", {"s"}, {"bad"}).number("alpha", bad); }),
        {"LeakyRelu_bad", "finite"});
    expect_in(error(value,
                    [](ModelBuilder& m, float bad) {
                      m.weights("low", {}, {bad}), m.weights("high", {}, {bad});
                      m.node("Clip", {"s", "low", "high"}, {"bad"});
                    }),
              {"Clip_bad", "bound"});
  }
  expect_in(error(NAN,
                  [](ModelBuilder& m, float bad) {
                    m.weights("low", {}, {bad});
                    m.node("Clip", {"s", "low"}, {"bad"});
                  }),
            {"Clip_bad", "nan"});
}

// ---- names

TEST(OnnxHostile, NamesReachNoTerminalAsTheyAre) {
  ModelBuilder m({1, 2, 1, 1});
  m.conv("x", "c", 2, 2).node->set_name("\x1b[31mred\n");
  m.node("Relu", {"c"}, {"y"});
  EXPECT_EQ(m.import().layers[1].name, "\\x1b[31mred\\n");
  ModelBuilder bad({1, 2, 1, 1});
  bad.node("Einsum\a", {"x\r"}, {"y"}).node->set_name("a\tb\x7f");
  expect_in(bad.error(), {"'a\\tb\\x7f' (Einsum\\x07)"});
  for (const char byte : bad.error()) EXPECT_GE(byte, ' ');
}

TEST(OnnxHostile, PrintableNames) {
  EXPECT_EQ(printable(""), "");
  EXPECT_EQ(printable("conv1/weights:0 ~"), "conv1/weights:0 ~");
  EXPECT_EQ(printable("größe 层 \U0001F600"), "größe 层 \U0001F600");
  EXPECT_EQ(printable(std::string("\0\x1f\x7f", 3)), "\\x00\\x1f\\x7f");
  EXPECT_EQ(printable("\u009b31m"), "\\xc2\\x9b31m");                         // another beginning of escape sequences
  EXPECT_EQ(printable("\xff\x9b\xc3"), "\\xff\\x9b\\xc3");                    // no UTF-8, cut UTF-8
  EXPECT_EQ(printable("\xc0\x8a\xe0\x80\x8a"), "\\xc0\\x8a\\xe0\\x80\\x8a");  // newlines, longer than needed
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");                    // a surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");           // beyond Unicode
}

}  // namespace
}  // namespace bitcluster
