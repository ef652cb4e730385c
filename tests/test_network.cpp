#include <gtest/gtest.h>

#include <cmath>

#include "host/base/error.hpp"
#include "host/model/network.hpp"

namespace bitcluster {
namespace {

/// input (2, 4, 4) -> conv (3, 4, 4) -> pool (3, 2, 2) -> fully connected (5, 1, 1)
Network small_network() {
  Convolution convolution;
  convolution.window = {3, 3, 1, 1, 1, 1, 1, 1, 1, 1};
  convolution.filters = 3;
  convolution.weights.assign(3 * 2 * 3 * 3, 0.5f);
  convolution.bias.assign(3, 0);
  Pool pool;
  pool.window = {2, 2, 2, 2, 1, 1, 0, 0, 0, 0};
  Convolution classifier;
  classifier.window.kernel_h = classifier.window.kernel_w = 2;
  classifier.filters = 5;
  classifier.fully_connected = true;
  classifier.weights.assign(5 * 3 * 2 * 2, 1);
  classifier.bias.assign(5, 0);
  return {"small",
          {{"image", Input{}, {}, {2, 4, 4}},
           {"conv", convolution, {0}, {3, 4, 4}},
           {"pool", pool, {1}, {3, 2, 2}},
           {"classifier", classifier, {2}, {5, 1, 1}}}};
}

template <class Change>
std::string message_after(Network network, const Change& change) {
  change(network);
  try {
    validate(network);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

template <class Change>
std::string message_after(const Change& change) {
  return message_after(small_network(), change);
}

/// Appends a layer that reads the given ones.
Network with_layer(const Operation& operation, std::vector<int> inputs, const Shape& output) {
  Network network = small_network();
  network.layers.push_back({"added", operation, std::move(inputs), output});
  return network;
}

TEST(Network, ListsWeightedLayersAndTheirProducts) {
  const Network network = small_network();
  EXPECT_EQ(weighted_layers(network), (std::vector<int>{1, 3}));
  EXPECT_EQ(multiply_accumulates(network, 1), 3 * 2 * 9 * 16);
  EXPECT_EQ(multiply_accumulates(network, 2), 0);
  EXPECT_EQ(multiply_accumulates(network, 3), 60);
}

TEST(Network, CountsWindowPositions) {
  EXPECT_EQ(window_positions(7, 3, 2, 1, 0, 0, false), 3);
  EXPECT_EQ(window_positions(8, 3, 2, 1, 0, 0, false), 3);
  EXPECT_EQ(window_positions(8, 3, 2, 1, 0, 0, true), 4);
  EXPECT_EQ(window_positions(7, 3, 1, 2, 0, 0, false), 3);  // taps 0, 2, 4
  EXPECT_EQ(window_positions(2, 3, 1, 1, 0, 0, false), 0);
  EXPECT_EQ(window_positions(2, 3, 1, 1, 1, 1, false), 2);
  // the third position would begin at 4, behind input and leading padding
  EXPECT_EQ(window_positions(3, 1, 2, 1, 0, 1, true), 2);
  EXPECT_EQ(window_positions(3, 2, 3, 1, 0, 1, true), 1);
}

TEST(Network, AcceptsWhatIsConsistent) {
  EXPECT_EQ(message_after([](Network&) {}), "");
  // 4 rows, window 3, stride 2: 1 position, or 2 with ceil_mode
  Pool pool;
  pool.window = {3, 3, 2, 2, 1, 1, 0, 0, 0, 0};
  for (const int extent : {1, 2}) {
    EXPECT_EQ(message_after(with_layer(pool, {1}, {3, extent, extent}), [](Network&) {}), "");
  }
  EXPECT_EQ(message_after(with_layer(Concat{}, {0, 1}, {5, 4, 4}), [](Network&) {}), "");
  Network gated = with_layer(Pool{Pool::Kind::average, {4, 4, 1, 1, 1, 1, 0, 0, 0, 0}, false}, {1}, {3, 1, 1});
  gated.layers.push_back({"gated", Multiply{}, {1, 4}, {3, 4, 4}});
  EXPECT_EQ(message_after(gated, [](Network&) {}), "");
}

TEST(Network, NamesTheLayerAndTheReason) {
  const auto expect = [](const std::string& message, const std::string& layer, const std::string& reason) {
    EXPECT_NE(message.find("layer '" + layer + "'"), std::string::npos) << message;
    EXPECT_NE(message.find(reason), std::string::npos) << message;
  };
  const auto convolution = [](Network& n) -> Convolution& { return std::get<Convolution>(n.layers[1].operation); };
  expect(message_after([&](Network& n) { n.layers[1].inputs = {1}; }), "conv", "does not come before");
  expect(message_after([&](Network& n) { n.layers[1].inputs = {-1}; }), "conv", "does not come before");
  expect(message_after([&](Network& n) { n.layers[1].inputs = {0, 0}; }), "conv", "2 inputs instead of 1");
  expect(message_after([&](Network& n) { n.layers[1].output.height = 5; }), "conv", "3x5x4");
  expect(message_after([&](Network& n) { n.layers[1].output.height = 0; }), "conv", "empty");
  expect(message_after([&](Network& n) { n.layers[1].low = 1, n.layers[1].high = 0; }), "conv", "clamp");
  expect(message_after([&](Network& n) { n.layers[2].name = "conv"; }), "conv", "same name");
  expect(message_after([&](Network& n) { n.layers[2].operation = Input{}; }), "pool", "only the first");
  expect(message_after([&](Network& n) { convolution(n).weights.pop_back(); }), "conv", "number of its weights");
  expect(message_after([&](Network& n) { convolution(n).bias.pop_back(); }), "conv", "bias");
  expect(message_after([&](Network& n) { convolution(n).weights[7] = NAN; }), "conv", "finite");
  expect(message_after([&](Network& n) { convolution(n).bias[0] = INFINITY; }), "conv", "finite");
  expect(message_after([&](Network& n) { convolution(n).groups = 2; }), "conv", "groups");
  expect(message_after([&](Network& n) { convolution(n).window.stride_h = 0; }), "conv", "positive");
  expect(message_after([&](Network& n) { convolution(n).window.pad_left = -1; }), "conv", "negative");
  expect(message_after([&](Network& n) { convolution(n).fully_connected = true; }), "conv", "whole input");
  expect(message_after([&](Network& n) { n.layers[2].output.channels = 2; }), "pool", "channels");
  expect(message_after([&](Network& n) { n.layers[2].output.width = 3; }), "pool", "width");
  expect(message_after(with_layer(Pool{Pool::Kind::max, {2, 2, 2, 2, 1, 1, 2, 2, 2, 2}, false}, {1}, {3, 4, 4}),
                       [](Network&) {}),
         "added", "wholly in the padding");
  expect(message_after(with_layer(Add{}, {0, 1}, {3, 4, 4}), [](Network&) {}), "added", "different shapes");
  expect(message_after(with_layer(Multiply{}, {0, 1}, {2, 4, 4}), [](Network&) {}), "added", "second input");
  expect(message_after(with_layer(Concat{}, {1, 2}, {6, 4, 4}), [](Network&) {}), "added", "height");
  expect(message_after(with_layer(Rearrange{{0, 1}}, {3}, {3, 1, 1}), [](Network&) {}), "added", "one source");
  expect(message_after(with_layer(Rearrange{{0, 5}}, {3}, {2, 1, 1}), [](Network&) {}), "added", "outside");
  expect(message_after(with_layer(Function{Function::Kind::leaky_relu, NAN, 0}, {3}, {5, 1, 1}), [](Network&) {}),
         "added", "finite");
  expect(message_after(with_layer(LocalResponseNorm{0}, {3}, {5, 1, 1}), [](Network&) {}), "added", "size");
  EXPECT_NE(message_after([](Network& n) { n.layers.clear(); }).find("'small'"), std::string::npos);
}

}  // namespace
}  // namespace bitcluster
