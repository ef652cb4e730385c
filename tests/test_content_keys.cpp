#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "harness/journal/content_keys.hpp"

namespace bitcluster {
namespace {

/// Keys of networks, each of which must differ from all before it.
class Keys {
 public:
  void expect_new(const Network& network, const std::string& what) {
    const auto [same, is_new] = seen_.emplace(content_key(network), what);
    EXPECT_TRUE(is_new) << what << " has the key of " << same->second;
  }

 private:
  std::map<Key, std::string> seen_;
};

Network network_of(const Operation& operation) {
  return {"network", {{"image", Input{}, {}, {4, 3, 2}}, {"layer", operation, {0}, {4, 3, 2}}}};
}

template <class Kind>
using Changes = std::vector<std::pair<std::string, std::function<void(Kind&)>>>;

/// One changed field after the other.
template <class Kind>
void expect_every_field(const Kind& kind, const Changes<Kind>& changes) {
  Keys keys;
  keys.expect_new(network_of(kind), "nothing changed");
  for (const auto& [field, change] : changes) {
    Kind changed = kind;
    change(changed);
    keys.expect_new(network_of(changed), field);
  }
}

/// Every field of a window inside of an operation.
template <class Kind>
Changes<Kind> window_changes() {
  Changes<Kind> changes;
  const std::pair<const char*, int Window::*> fields[] = {
      {"kernel_h", &Window::kernel_h},  {"kernel_w", &Window::kernel_w},     {"stride_h", &Window::stride_h},
      {"stride_w", &Window::stride_w},  {"dilation_h", &Window::dilation_h}, {"dilation_w", &Window::dilation_w},
      {"pad_top", &Window::pad_top},    {"pad_left", &Window::pad_left},     {"pad_bottom", &Window::pad_bottom},
      {"pad_right", &Window::pad_right}};
  for (const auto& [name, field] : fields) {
    changes.push_back({name, [field = field](Kind& kind) { kind.window.*field += 1; }});
  }
  return changes;
}

TEST(ContentKeys, DifferByEveryFieldOfAConvolution) {
  const Convolution convolution{{}, 2, 1, false, {1, 2, 3, 4}, {5, 6}};
  Changes<Convolution> changes = window_changes<Convolution>();
  changes.push_back({"filters", [](Convolution& c) { c.filters = 3; }});
  changes.push_back({"groups", [](Convolution& c) { c.groups = 2; }});
  changes.push_back({"fully_connected", [](Convolution& c) { c.fully_connected = true; }});
  changes.push_back({"a weight", [](Convolution& c) { c.weights[3] = 0; }});
  changes.push_back({"number of weights", [](Convolution& c) { c.weights.push_back(0); }});
  changes.push_back({"a bias", [](Convolution& c) { c.bias[0] = 0; }});
  changes.push_back({"weight or bias", [](Convolution& c) { c.weights.pop_back(), c.bias = {4, 5, 6}; }});
  expect_every_field(convolution, changes);
}

TEST(ContentKeys, DifferByEveryFieldOfAPool) {
  Changes<Pool> changes = window_changes<Pool>();
  changes.push_back({"kind", [](Pool& p) { p.kind = Pool::Kind::average; }});
  changes.push_back({"count_padding", [](Pool& p) { p.count_padding = true; }});
  expect_every_field(Pool{}, changes);
}

TEST(ContentKeys, DifferByEveryFieldOfTheOthers) {
  expect_every_field<Rearrange>({{0, 1, 2}}, {{"a source", [](Rearrange& r) { r.source[1] = -1; }},
                                              {"number of sources", [](Rearrange& r) { r.source.push_back(3); }}});
  expect_every_field<Function>({}, {{"kind", [](Function& f) { f.kind = Function::Kind::sigmoid; }},
                                    {"alpha", [](Function& f) { f.alpha = 1; }},
                                    {"beta", [](Function& f) { f.beta = 1; }}});
  expect_every_field<LocalResponseNorm>({}, {{"size", [](LocalResponseNorm& n) { n.size = 3; }},
                                             {"alpha", [](LocalResponseNorm& n) { n.alpha = 2; }},
                                             {"beta", [](LocalResponseNorm& n) { n.beta = 2; }},
                                             {"bias", [](LocalResponseNorm& n) { n.bias = 2; }}});
}

TEST(ContentKeys, DifferByEveryFieldOfALayer) {
  Keys keys;
  const Network network = network_of(Add{});
  keys.expect_new(network, "nothing changed");
  const std::pair<const char*, std::function<void(Layer&)>> changes[] = {
      {"low", [](Layer& l) { l.low = 0; }},
      {"high", [](Layer& l) { l.high = 6; }},
      {"an input", [](Layer& l) { l.inputs[0] = 1; }},
      {"number of inputs", [](Layer& l) { l.inputs.push_back(0); }},
      {"channels", [](Layer& l) { l.output.channels = 5; }},
      {"height", [](Layer& l) { l.output.height = 5; }},
      {"width", [](Layer& l) { l.output.width = 5; }}};
  for (const auto& [field, change] : changes) {
    Network changed = network;
    change(changed.layers[1]);
    keys.expect_new(changed, field);
  }
  Network longer = network;
  longer.layers.push_back(network.layers[1]);
  keys.expect_new(longer, "number of layers");
}

TEST(ContentKeys, DifferByTheOperation) {
  Keys keys;
  const Operation operations[] = {Input{},    Convolution{},      Pool{}, Add{}, Multiply{}, Concat{}, Rearrange{},
                                  Function{}, LocalResponseNorm{}};
  static_assert(std::size(operations) == std::variant_size_v<Operation>);
  for (const Operation& operation : operations) {
    keys.expect_new(network_of(operation), "operation " + std::to_string(operation.index()));
  }
}

TEST(ContentKeys, IgnoreNames) {
  const Network network = network_of(Add{});
  Network renamed = network;
  renamed.name = renamed.layers[1].name = "other";
  EXPECT_EQ(content_key(renamed), content_key(network));
}

}  // namespace
}  // namespace bitcluster
