#include "host/cpu/observe_grams.hpp"

#include <algorithm>
#include <cstdint>

#include "host/base/buffer.hpp"
#include "host/base/parallel.hpp"

namespace bitcluster {
namespace {

constexpr int pair = 2;                                         // positions whose products one instruction adds
constexpr int panel_elements = gram_panel * gram_pairs * pair;  // inputs x positions

int panels_of(int inputs) { return (inputs + gram_panel - 1) / gram_panel; }

int inputs_of(const Convolution& convolution) { return int(convolution.weights.size()) / convolution.filters; }

/// Adds up the matrices of one layer. Columns of X are gathered until there are as many as a kernel takes.
class GramSum {
 public:
  GramSum(const Kernels& kernels, const Convolution& convolution, const Shape& input, const Shape& output)
      : kernels_(kernels),
        window_(convolution.window),
        input_(input),
        output_(output),
        gram_(convolution.groups, inputs_of(convolution)) {
    for (int block = 0; block < gram_.blocks(); ++block) {
      for (int first = 0; first < gram_.block_size(block); first += gram_panel) panels_.push_back({block, first});
    }
    columns_.reserve(std::size_t(gram_.groups) * panels_.size() * panel_elements * sizeof(std::int16_t));
  }

  /// values: (c, h, w) of one image.
  void add(std::span<const std::int16_t> values) {
    const int positions = output_.height * output_.width;
    for (int first = 0; first < positions;) {
      const int count = std::min(positions - first, gram_pairs * pair - filled_);
      parallel_for(tasks(), [&](long task, int) { fill(task, values, first, count); });
      filled_ += count;
      first += count;
      if (filled_ == gram_pairs * pair) multiply();
    }
    gram_.positions += positions;
  }

  InputGram finish() {
    multiply();
    return std::move(gram_);
  }

 private:
  struct Panel {
    int block, first;  // first input, within its block
  };

  long tasks() const { return long(gram_.groups) * long(panels_.size()); }
  std::int16_t* columns(long task) const { return columns_.as<std::int16_t>() + task * panel_elements; }

  /// Appends `count` output positions to the columns of one panel: (pair of positions, input, position of the pair).
  void fill(long task, std::span<const std::int16_t> values, int first, int count) {
    const int group = int(task / long(panels_.size()));
    const Panel& panel = panels_[task % long(panels_.size())];
    const int channels = input_.channels / gram_.groups, kernel = window_.kernel_h * window_.kernel_w;
    const int size = std::min(gram_panel, gram_.block_size(panel.block) - panel.first);
    for (int i = 0; i < size; ++i) {
      const int input = gram_.starts[panel.block] + panel.first + i;
      const int ky = input % kernel / window_.kernel_w, kx = input % window_.kernel_w;
      const std::int16_t* plane =
          values.data() + (std::size_t(group) * channels + input / kernel) * input_.height * input_.width;
      std::int64_t sum = 0;
      for (int position = first; position < first + count; ++position) {
        const int y = position / output_.width * window_.stride_h - window_.pad_top + ky * window_.dilation_h;
        const int x = position % output_.width * window_.stride_w - window_.pad_left + kx * window_.dilation_w;
        const bool inside = y >= 0 && y < input_.height && x >= 0 && x < input_.width;
        const std::int16_t value = inside ? plane[y * input_.width + x] : std::int16_t(0);
        const int column = filled_ + position - first;
        columns(task)[(column / pair * gram_panel + i) * pair + column % pair] = value;
        sum += value;
      }
      gram_.sums[std::size_t(group) * gram_.inputs + input] += sum;
    }
    if (size < gram_panel && filled_ == 0) {  // rows that do not exist must not hold what was in the memory
      for (int column = 0; column < gram_pairs; ++column) {
        std::fill_n(columns(task) + (column * gram_panel + size) * pair, (gram_panel - size) * pair, std::int16_t(0));
      }
    }
  }

  /// Adds the products of what was gathered: of every panel with itself and those before it in its block.
  void multiply() {
    if (filled_ == 0) return;
    const int pairs = (filled_ + pair - 1) / pair;
    parallel_for(tasks(), [&](long task, int) {
      const int group = int(task / long(panels_.size()));
      const Panel& panel = panels_[task % long(panels_.size())];
      if (filled_ % pair != 0) {
        std::int16_t* last = columns(task) + (pairs - 1) * gram_panel * pair;
        for (int i = 0; i < gram_panel; ++i) last[i * pair + 1] = 0;
      }
      const int size = gram_.block_size(panel.block), end = std::min(panel.first + gram_panel, size);
      std::int64_t* triangle = gram_.products.data() + gram_.triangle(group, panel.block);
      std::int32_t products[gram_panel * gram_panel];
      for (int other = 0; other <= panel.first; other += gram_panel) {
        kernels_.gram(columns(task), columns(task - (panel.first - other) / gram_panel), pairs, products);
        for (int row = panel.first; row < end; ++row) {
          std::int64_t* to = triangle + std::size_t(row) * (row + 1) / 2 + other;
          const int count = std::min(gram_panel, row + 1 - other);
          for (int i = 0; i < count; ++i) to[i] += products[(row - panel.first) * gram_panel + i];
        }
      }
    });
    filled_ = 0;
  }

  const Kernels& kernels_;
  const Window window_;
  const Shape input_, output_;
  InputGram gram_;
  std::vector<Panel> panels_;  // of a group
  Buffer columns_;             // (group, panel, pair of positions, input of the panel, position of the pair)
  int filled_ = 0;             // positions in it
};

}  // namespace

std::vector<InputGram> observe_grams(const Kernels& kernels, Backend& backend, const IntegerNetwork& network,
                                     std::span<const int> layers, ImageBatch images) {
  std::vector<GramSum> sums;
  for (const int layer : layers) {
    const Layer& description = network.network.layers[layer];
    sums.emplace_back(kernels, std::get<Convolution>(description.operation),
                      network.network.layers[description.inputs[0]].output, description.output);
  }
  backend.observe_inputs(images, {}, [&](int, int layer, std::span<const std::int16_t> values) {
    const auto found = std::lower_bound(layers.begin(), layers.end(), layer);
    if (found != layers.end() && *found == layer) sums[std::size_t(found - layers.begin())].add(values);
  });
  std::vector<InputGram> grams;
  for (GramSum& sum : sums) grams.push_back(sum.finish());
  return grams;
}

std::size_t gram_bytes(const Network& network, int layer) {
  const Convolution& convolution = std::get<Convolution>(network.layers[layer].operation);
  const std::size_t inputs = std::size_t(inputs_of(convolution));
  const std::size_t triangle = std::min<std::size_t>(inputs, largest_gram_block) * inputs / 2 * sizeof(std::int64_t);
  return convolution.groups * (triangle + std::size_t(panels_of(int(inputs))) * panel_elements * sizeof(std::int16_t));
}

}  // namespace bitcluster
