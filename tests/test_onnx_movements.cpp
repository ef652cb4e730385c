#include "tests/onnx_models.hpp"

namespace bitcluster {
namespace {

TEST(OnnxMovements, ConcatenatesAlongAnyAxis) {
  ModelBuilder m({1, 2, 1, 2});
  m.node("Relu", {"x"}, {"r"});
  m.node("Concat", {"x", "r", "x"}, {"y"}).integer("axis", 1);
  EXPECT_EQ(run(m.import()), (Floats{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}));
  ModelBuilder w({1, 2, 1, 2});
  w.node("Relu", {"x"}, {"r"});
  w.node("Concat", {"x", "r"}, {"y"}).integer("axis", -1);
  const Network network = w.import();
  EXPECT_EQ(network.layers.back().output, (Shape{2, 1, 4}));
  EXPECT_EQ(run(network), (Floats{0, 1, 0, 1, 2, 3, 2, 3}));
}

TEST(OnnxMovements, FoldsSpatialPaddingIntoConvolutions) {
  const auto build = [](bool shared) {
    ModelBuilder m({1, 1, 2, 2});
    m.list("pads", {0, 0, 0, 1, 0, 0, 1, 2});
    m.node("Pad", {"x", "pads"}, {"p"}).text("mode", "constant");
    m.weights("w", {1, 1, 2, 2}, {1, 2, 3, 4});
    m.node("Conv", {"p", "w"}, {shared ? "c" : "y"}).integers("pads", {1, 0, 0, 0});
    if (shared) {
      m.node("GlobalMaxPool", {"p"}, {"g"});
      m.node("Mul", {"c", "g"}, {"y"});
    }
    return m.import();
  };
  const Network folded = build(false);
  ASSERT_EQ(kinds(folded), (Kinds{input_, conv_}));
  EXPECT_EQ(get<Convolution>(folded, 1).window, (Window{2, 2, 1, 1, 1, 1, 1, 1, 1, 2}));
  const Network kept = build(true);
  ASSERT_EQ(kinds(kept), (Kinds{input_, rearrange_, conv_, pool_, multiply_}));
  EXPECT_EQ(get<Convolution>(kept, 2).window, (Window{2, 2, 1, 1, 1, 1, 1, 0, 0, 0}));
  Floats expected = run(folded);
  for (float& value : expected) value *= 3;  // the largest element
  EXPECT_EQ(run(kept), expected);
}

TEST(OnnxMovements, RearrangesChannelPadReflectionAndCrop) {
  ModelBuilder channels({1, 1, 1, 2});
  channels.list("pads", {0, 1, 0, 0, 0, 2, 0, 0});
  channels.node("Pad", {"x", "pads"}, {"y"});
  EXPECT_EQ(run(channels.import()), (Floats{0, 0, 0, 1, 0, 0, 0, 0}));
  ModelBuilder reflection({1, 1, 1, 3});
  reflection.list("pads", {0, 0, 0, 2, 0, 0, 0, 1});
  reflection.node("Pad", {"x", "pads"}, {"y"}).text("mode", "reflect");
  EXPECT_EQ(run(reflection.import()), (Floats{2, 1, 0, 1, 2, 1}));
  ModelBuilder crop({1, 1, 1, 4}, 9);
  crop.node("Pad", {"x"}, {"y"}).integers("pads", {0, 0, 0, -1, 0, 0, 0, -2});
  EXPECT_EQ(run(crop.import()), (Floats{1}));
}

TEST(OnnxMovements, SlicesGathersAndSplits) {
  ModelBuilder slice({1, 2, 3, 3});
  slice.list("starts", {0, -1});
  slice.list("ends", {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()});
  slice.list("axes", {2, 3});
  slice.list("steps", {2, -2});
  slice.node("Slice", {"x", "starts", "ends", "axes", "steps"}, {"y"});
  EXPECT_EQ(run(slice.import()), (Floats{2, 0, 8, 6, 11, 9, 17, 15}));
  EXPECT_EQ(slice.import().layers.back().output, (Shape{2, 2, 2}));

  ModelBuilder gather({1, 3, 1, 2});
  auto* index = gather.tensor("i", {}, onnx::TensorProto::INT64);
  index->add_int64_data(-1);
  gather.list("axes", {1});
  gather.node("Gather", {"x", "i"}, {"g"}).integer("axis", 1);
  gather.node("Unsqueeze", {"g", "axes"}, {"y"});
  EXPECT_EQ(run(gather.import()), (Floats{4, 5}));

  ModelBuilder split({1, 3, 1, 2});
  split.list("sizes", {1, 2});
  split.node("Split", {"x", "sizes"}, {"a", "b"}).integer("axis", 1);
  split.node("Concat", {"b", "a"}, {"y"}).integer("axis", 1);
  EXPECT_EQ(run(split.import()), (Floats{2, 3, 4, 5, 0, 1}));
}

TEST(OnnxMovements, MakesOneLayerOfAChannelShuffle) {
  for (const std::int64_t batch : {-1, 1, 5}) {
    ModelBuilder m({batch, 6, 1, 2});
    m.list("five", {batch, 2, 3, 1, 2});
    m.list("four", {batch, -1, 1, 2});
    if (batch < 0) m.model.mutable_graph()->mutable_initializer(1)->set_int64_data(1, 6);
    m.node("Reshape", {"x", "five"}, {"a"});
    m.node("Transpose", {"a"}, {"b"}).integers("perm", {0, 2, 1, 3, 4});
    m.node("Relu", {"b"}, {"c"});
    m.node("Reshape", {"c", "four"}, {"y"});
    const Network network = m.import();
    ASSERT_EQ(kinds(network), (Kinds{input_, function_, rearrange_}));
    EXPECT_EQ(network.layers[2].output, (Shape{6, 1, 2}));
    EXPECT_EQ(run(network), (Floats{0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11}));
  }
}

TEST(OnnxMovements, ForgetsTranspositionsThatCancel) {
  ModelBuilder m({1, 2, 2, 3});
  m.node("Transpose", {"x"}, {"a"}).integers("perm", {0, 2, 3, 1});
  m.node("Relu", {"a"}, {"b"});
  m.node("Transpose", {"b"}, {"y"}).integers("perm", {0, 3, 1, 2});
  EXPECT_EQ(kinds(m.import()), (Kinds{input_, function_}));
}

TEST(OnnxMovements, TakesImagesWithChannelsLast) {
  ModelBuilder m({1, 4, 5, 3});
  m.node("Transpose", {"x"}, {"t"}).integers("perm", {0, 3, 1, 2});
  m.conv("t", "y", 3, 2);
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
  EXPECT_EQ(network.input(), (Shape{3, 4, 5}));
}

TEST(OnnxMovements, PermutesTheWeightsOfAFlattenedTransposition) {
  ModelBuilder m({1, 2, 1, 2});
  m.node("Transpose", {"x"}, {"t"}).integers("perm", {0, 2, 3, 1});  // 0 2 1 3
  m.node("Flatten", {"t"}, {"f"});
  m.weights("w", {1, 4}, {1, 10, 100, 1000});
  m.node("Gemm", {"f", "w"}, {"y"}).integer("transB", 1);
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
  EXPECT_EQ(run(network), (Floats{20 + 100 + 3000}));
}

TEST(OnnxMovements, RefusesToMixImages) {
  ModelBuilder reshape({4, 2, 1, 1});
  reshape.list("shape", {2, 4});
  reshape.node("Reshape", {"x", "shape"}, {"y"});
  expect_in(reshape.error(), {"Reshape_y", "mixes the batch"});
  ModelBuilder transpose;
  transpose.node("Transpose", {"x"}, {"y"}).integers("perm", {1, 0, 2, 3});
  expect_in(transpose.error(), {"Transpose_y", "batch axis"});
  ModelBuilder concat;
  concat.node("Concat", {"x", "x"}, {"y"}).integer("axis", 0);
  expect_in(concat.error(), {"Concat_y", "batch"});
}

// A shortcut whose new channels are zeros (option A of ResNet), and constants in any place.
TEST(OnnxMovements, ConcatenatesConstants) {
  ModelBuilder m({1, 1, 1, 2});
  m.weights("zeros", {1, 2, 1, 2}, {0, 0, 0, 0});
  m.node("Concat", {"x", "zeros"}, {"y"}).integer("axis", 1);
  const Network network = m.import();
  EXPECT_EQ(weighted_layers(network).size(), 0u);
  EXPECT_EQ(run(network), (Floats{0, 1, 0, 0, 0, 0}));
  ModelBuilder first({1, 1, 1, 2});
  first.weights("k", {1, 2, 1, 2}, {5, 5, 6, 6});
  first.node("Concat", {"k", "x"}, {"y"}).integer("axis", 1);
  EXPECT_EQ(run(first.import()), (Floats{5, 5, 6, 6, 0, 1}));
  ModelBuilder wide({1, 1, 1, 2});
  wide.weights("k", {1, 1, 1, 1}, {9});
  wide.node("Concat", {"x", "k"}, {"y"}).integer("axis", 3);
  EXPECT_EQ(run(wide.import()), (Floats{0, 1, 9}));
  ModelBuilder coordinates({1, 1, 1, 2});  // CoordConv
  coordinates.weights("k", {1, 1, 1, 2}, {-1, 1});
  coordinates.node("Concat", {"x", "k"}, {"y"}).integer("axis", 1);
  EXPECT_EQ(run(coordinates.import()), (Floats{0, 1, -1, 1}));
  ModelBuilder batch({2, 1, 1, 1});
  batch.weights("k", {2, 1, 1, 1}, {3, 4});
  batch.node("Concat", {"x", "k"}, {"y"}).integer("axis", 1);
  expect_in(batch.error(), {"Concat_y", "differs between the images"});
}

TEST(OnnxMovements, SplitsActivations) {
  ModelBuilder m({2, 4, 1, 1});
  m.list("sizes", {1, 3});
  m.node("Split", {"x", "sizes"}, {"a", "b"}).integer("axis", 1);
  m.node("Concat", {"b", "a"}, {"y"}).integer("axis", 1);
  EXPECT_EQ(run(m.import()), (Floats{1, 2, 3, 0}));
  ModelBuilder equal({1, 4, 1, 1}, 18);
  equal.node("Split", {"x"}, {"a", "b"}).integer("axis", 1).integer("num_outputs", 2);
  equal.node("Mul", {"a", "b"}, {"y"});
  EXPECT_EQ(run(equal.import()), (Floats{0, 3}));
}

TEST(OnnxMovements, ResizesToTheNearest) {
  ModelBuilder m({1, 1, 2, 2});
  m.weights("scales", {4}, {1, 1, 2, 3});
  m.node("Resize", {"x", "", "scales"}, {"y"})
      .text("mode", "nearest")
      .text("coordinate_transformation_mode", "asymmetric")
      .text("nearest_mode", "floor");
  const Network network = m.import();
  EXPECT_EQ(network.layers.back().output, (Shape{1, 4, 6}));
  EXPECT_EQ(run(network), (Floats{0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 2, 2, 2, 3, 3, 3}));
  ModelBuilder sizes({1, 1, 1, 4});
  sizes.list("sizes", {1, 1, 1, 2});
  sizes.node("Resize", {"x", "", "", "sizes"}, {"y"});  // half pixels: 0.5 and 2.5, rounded down
  EXPECT_EQ(run(sizes.import()), (Floats{0, 2}));
  ModelBuilder early({1, 1, 1, 2}, 9);
  early.weights("scales", {4}, {1, 1, 1, 2});
  early.node("Upsample", {"x", "scales"}, {"y"});
  EXPECT_EQ(run(early.import()), (Floats{0, 0, 1, 1}));
  ModelBuilder linear({1, 1, 2, 2});
  linear.weights("scales", {4}, {1, 1, 2, 2});
  linear.node("Resize", {"x", "", "scales"}, {"y"}).text("mode", "linear");
  expect_in(linear.error(), {"Resize_y", "mode is 'linear'", "nearest"});
}

TEST(OnnxMovements, BringsChannelsToBlocksAndBack) {
  ModelBuilder m({1, 4, 1, 2});
  m.node("DepthToSpace", {"x"}, {"d"}).integer("blocksize", 2);
  m.node("SpaceToDepth", {"d"}, {"y"}).integer("blocksize", 2);
  EXPECT_EQ(run(m.import()), (Floats{0, 1, 2, 3, 4, 5, 6, 7}));
  ModelBuilder shuffle({1, 4, 1, 2});  // PixelShuffle
  shuffle.node("DepthToSpace", {"x"}, {"y"}).integer("blocksize", 2).text("mode", "CRD");
  EXPECT_EQ(run(shuffle.import()), (Floats{0, 2, 1, 3, 4, 6, 5, 7}));
}

TEST(OnnxMovements, RepeatsTiles) {
  ModelBuilder m({1, 2, 1, 2});
  m.list("repeats", {1, 1, 1, 2});
  m.node("Tile", {"x", "repeats"}, {"y"});
  EXPECT_EQ(run(m.import()), (Floats{0, 1, 0, 1, 2, 3, 2, 3}));
}

}  // namespace
}  // namespace bitcluster
