#include "host/cpu/packed_convolution.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

namespace bitcluster {
namespace {

/// Scratch that one strip fills, so that it stays in a second-level cache of 256 KiB to 1 MiB beside the weights.
constexpr std::size_t strip_bytes = 192 << 10;

/// Pixel groups of one kernel call: weights are read from the cache once for so many.
constexpr int block_groups = 96;

/// Below so many output pixels a strip takes several images, or weights would be read from memory for few products.
constexpr int strip_pixels = 192;

constexpr int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

/// The last input position that a window along one axis reads, plus one, from the start of the padding.
int reach(int outputs, int stride, int kernel, int dilation) {
  return (outputs - 1) * stride + (kernel - 1) * dilation + 1;
}

}  // namespace

/// Output rows of one image, or several whole images, and where their input lies.
struct PackedConvolution::Strip {
  int first_image, images;
  int first_row, rows;         // of the output
  const char* input;           // first tap of the first output
  std::ptrdiff_t row_pitch;    // bytes between rows of the input
  std::ptrdiff_t image_pitch;  // bytes
};

PackedConvolution::PackedConvolution(const Kernels& kernels, const Convolution& convolution, const Shape& input,
                                     const Shape& output, std::span<const std::int16_t> weights, bool input_is_signed,
                                     const Requantization& requantization, Buffer storage)
    : kernels_(&kernels),
      input_(input),
      output_(output),
      window_(convolution.window),
      groups_(convolution.groups),
      filters_(convolution.filters),
      input_is_signed_(input_is_signed),
      weights_(std::move(storage)) {
  depthwise_ = groups_ > 1 && groups_ == input.channels;
  std::int16_t least = 0, most = 0;
  for (const std::int16_t weight : weights) {
    least = std::min(least, weight);
    most = std::max(most, weight);
  }
  const bool fits_byte = least >= -128 && most <= 127;
  arithmetic_ = kernels.has_bytes && fits_byte && !depthwise_ ? Arithmetic::bytes : Arithmetic::words;
  plan(convolution);

  const int group_filters = filters_ / groups_;
  const std::size_t filter_size = weights.size() / filters_;
  const int padded = depthwise_ ? group_filters_padded_ : groups_ * group_filters_padded_;
  bias_.assign(padded, 0);
  multipliers_.assign(padded, 0);
  for (int filter = 0; filter < filters_; ++filter) {
    std::int32_t bias = requantization.bias[filter];
    if (arithmetic_ == Arithmetic::bytes && input_is_signed) {
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < filter_size; ++i) sum += weights[filter * filter_size + i];
      // modulo 2^32 like the kernel's sums: what is added there comes off here
      bias = std::int32_t(std::uint32_t(bias) - 128u * std::uint32_t(sum));
    }
    int position = filter / group_filters * group_filters_padded_ + filter % group_filters;
    if (depthwise_) {  // the kernel's order, see DepthwiseTask
      const int width = kernels.vector_width, channel = filter % (2 * width);
      position = filter - channel + channel / 4 % 2 * width + channel / 8 * 4 + channel % 4;
    }
    bias_[position] = bias;
    multipliers_[position] = requantization.multiplier[filter];
  }
  if (depthwise_) {
    pack_depthwise(weights);
  } else {
    pack(weights);
  }
}

PackedConvolution::PackedConvolution(const Kernels& kernels, const Convolution& convolution, const Shape& input,
                                     const Shape& output)
    : kernels_(&kernels),
      input_(input),
      output_(output),
      window_(convolution.window),
      groups_(convolution.groups),
      filters_(convolution.filters),
      arithmetic_(Arithmetic::floats) {
  plan(convolution);
  bias_.assign(std::size_t(groups_) * group_filters_padded_, 0);
  const int group_filters = filters_ / groups_;
  for (int filter = 0; filter < filters_; ++filter) {
    bias_[filter / group_filters * group_filters_padded_ + filter % group_filters] =
        std::bit_cast<std::int32_t>(convolution.bias[filter]);
  }
  pack(std::span<const float>(convolution.weights));
}

void PackedConvolution::plan(const Convolution& convolution) {
  element_bytes_ = arithmetic_ == Arithmetic::bytes ? 1 : arithmetic_ == Arithmetic::words ? 2 : 4;
  multiplicity_ = depthwise_ ? filters_ / groups_ : 1;
  scratch_height_ = reach(output_.height, window_.stride_h, window_.kernel_h, window_.dilation_h);
  scratch_width_ = reach(output_.width, window_.stride_w, window_.kernel_w, window_.dilation_w);
  scratch_channels_ = input_.channels * multiplicity_;
  in_place_ = arithmetic_ != Arithmetic::words && !(arithmetic_ == Arithmetic::bytes && input_is_signed_) &&
              window_.pad_top == 0 && window_.pad_left == 0 && scratch_height_ <= input_.height &&
              scratch_width_ <= input_.width;
  if (in_place_) {
    scratch_height_ = input_.height;
    scratch_width_ = input_.width;
  }

  const int row_pitch = scratch_width_ * scratch_channels_;
  const int taps = window_.kernel_h * window_.kernel_w;
  if (depthwise_) {
    for (int tap = 0; tap < round_up(taps, 2); ++tap) {
      const int real = std::min(tap, taps - 1);  // a missing tap has weight zero
      run_offsets_.push_back(std::ptrdiff_t(real / window_.kernel_w) * window_.dilation_h * row_pitch +
                             real % window_.kernel_w * window_.dilation_w * scratch_channels_);
    }
    group_filters_padded_ = round_up(filters_, 2 * kernels_->vector_width);
    return;
  }

  // Runs: what lies side by side in memory. A kernel row does unless it is dilated or cut into groups.
  const int group_channels = input_.channels / groups_;
  const int step_elements = 4 / element_bytes_;
  int run_rows = 1, run_columns = 1;
  if (groups_ == 1 && (window_.dilation_w == 1 || window_.kernel_w == 1)) {
    run_columns = window_.kernel_w;
    if (run_columns == scratch_width_ && (window_.dilation_h == 1 || window_.kernel_h == 1)) {
      run_rows = window_.kernel_h;
    }
  }
  const int run_length = run_rows * run_columns * group_channels;
  run_steps_ = (run_length + step_elements - 1) / step_elements;
  for (int ky = 0; ky < window_.kernel_h; ky += run_rows) {
    for (int kx = 0; kx < window_.kernel_w; kx += run_columns) {
      run_offsets_.push_back(
          (std::ptrdiff_t(ky) * window_.dilation_h * row_pitch + kx * window_.dilation_w * scratch_channels_) *
          element_bytes_);
      for (int tap = 0; tap < run_rows * run_columns; ++tap) {
        run_taps_.push_back((ky + tap / run_columns) * window_.kernel_w + kx + tap % run_columns);
      }
    }
  }
  const int width = kernels_->vector_width;
  const int group_filters = convolution.filters / groups_;
  group_filters_padded_ = round_up(group_filters, width);
  group_weight_bytes_ = run_offsets_.size() * run_steps_ * 4 * group_filters_padded_;
}

template <class Weight>
void PackedConvolution::pack(std::span<const Weight> weights) {
  const int group_filters = filters_ / groups_, group_channels = input_.channels / groups_;
  const int taps = window_.kernel_h * window_.kernel_w, runs = int(run_offsets_.size());
  const int run_taps = int(run_taps_.size()) / runs, channels_at_once = taps == 1 ? group_channels : 64;
  const std::size_t filter_size = weights.size() / filters_, steps = std::size_t(runs) * run_steps_;
  const int width = kernels_->vector_width, largest_block = kernels_->block_vectors * width;
  weights_.reserve(group_weight_bytes_ * groups_);
  const auto pack_as = [&]<class Element>(Element* to) {
    // First every filter of a block in the order of the runs, then steps of all filters side by side: so both reading
    // and writing move forward. Rows begin in different sets of the cache.
    constexpr std::size_t step_elements = 4 / sizeof(Element), cache_line = 64;
    const std::size_t row_size = steps * step_elements + cache_line;
    std::vector<Element> rows(largest_block * row_size);
    for (int group = 0; group < groups_; ++group) {
      for (int first = 0; first < group_filters;) {
        const int block = first + width < group_filters ? largest_block : width;
        for (int i = 0; i < block; ++i) {
          Element* const row = rows.data() + i * row_size;
          if (first + i >= group_filters) {
            std::fill_n(row, row_size, Element(0));
            continue;
          }
          const Weight* filter = weights.data() + std::size_t(group * group_filters + first + i) * filter_size;
          // a few channels at a time: all taps of those are in the cache
          for (int c0 = 0; c0 < group_channels; c0 += channels_at_once) {
            const int channels = std::min(channels_at_once, group_channels - c0);
            for (int tap = 0; tap < runs * run_taps; ++tap) {
              Element* const of_tap =
                  row + tap / run_taps * run_steps_ * step_elements + tap % run_taps * group_channels + c0;
              const Weight* const from = filter + std::size_t(c0) * taps + run_taps_[tap];
              if (taps == 1) {
                for (int c = 0; c < channels; ++c) of_tap[c] = Element(from[c]);
              } else {
                for (int c = 0; c < channels; ++c) of_tap[c] = Element(from[c * taps]);
              }
            }
          }
        }
        for (std::size_t step = 0; step < steps; ++step) {
          const Element* from = rows.data() + step * step_elements;
          for (int i = 0; i < block; ++i, from += row_size, to += step_elements) {
            std::memcpy(to, from, step_elements * sizeof(Element));
          }
        }
        first += block;
      }
    }
  };
  if constexpr (std::is_same_v<Weight, float>) {
    pack_as(weights_.as<float>());
  } else if (arithmetic_ == Arithmetic::bytes) {
    pack_as(weights_.as<std::int8_t>());
  } else {
    pack_as(weights_.as<std::int16_t>());
  }
}

void PackedConvolution::pack_depthwise(std::span<const std::int16_t> weights) {
  const int taps = window_.kernel_h * window_.kernel_w;
  const int pairs = int(run_offsets_.size()) / 2, width = kernels_->vector_width;
  weights_.reserve(std::size_t(group_filters_padded_) * pairs * 2 * sizeof(std::int16_t));
  std::int16_t* to = weights_.as<std::int16_t>();
  for (int first = 0; first < group_filters_padded_; first += 2 * width) {
    for (int pair = 0; pair < pairs; ++pair) {
      for (int i = 0; i < 2 * width; ++i) {  // low half, then high half
        const int lane = i % width;
        const int filter = first + lane / 4 * 8 + i / width * 4 + lane % 4;
        for (int tap = 2 * pair; tap < 2 * pair + 2; ++tap) {
          *to++ = filter < filters_ && tap < taps ? weights[std::size_t(filter) * taps + tap] : std::int16_t(0);
        }
      }
    }
  }
}

void PackedConvolution::run(const void* input, int images, const ConvolutionOutput& output, Buffer& scratch) const {
  const std::ptrdiff_t row_pitch = std::ptrdiff_t(scratch_width_) * scratch_channels_ * element_bytes_;
  const std::ptrdiff_t image_pitch = row_pitch * scratch_height_;
  const auto run_strip = [&](const Strip& strip) {
    if (depthwise_) {
      run_depthwise(strip, output);
    } else {
      run_dense(strip, output);
    }
  };
  if (in_place_) {
    run_strip({0, images, 0, output_.height, static_cast<const char*>(input), row_pitch, image_pitch});
    return;
  }
  const int pixels = output_.height * output_.width;
  const bool whole_images = std::size_t(image_pitch) <= strip_bytes || pixels <= strip_pixels;
  if (whole_images) {
    const int at_once = std::min(images, std::max({1, int(strip_bytes / image_pitch), strip_pixels / pixels}));
    scratch.reserve(std::size_t(image_pitch) * at_once);
    for (int first = 0; first < images; first += at_once) {
      const Strip strip{first,      std::min(at_once, images - first), 0, output_.height, scratch.as<char>(), row_pitch,
                        image_pitch};
      fill(input, strip, scratch.as<char>());
      run_strip(strip);
    }
    return;
  }
  const int extent = (window_.kernel_h - 1) * window_.dilation_h + 1;
  const int fitting = (int(strip_bytes / row_pitch) - extent) / window_.stride_h + 1;
  const int at_once = std::min(output_.height, std::max(fitting, (strip_pixels + output_.width - 1) / output_.width));
  scratch.reserve(std::size_t(row_pitch) * ((at_once - 1) * window_.stride_h + extent));
  for (int image = 0; image < images; ++image) {
    for (int row = 0; row < output_.height; row += at_once) {
      const Strip strip{image,     1,          row, std::min(at_once, output_.height - row), scratch.as<char>(),
                        row_pitch, image_pitch};
      fill(input, strip, scratch.as<char>());
      run_strip(strip);
    }
  }
}

/// Copies what the strip reads, with its padding, in the form that the kernels want.
void PackedConvolution::fill(const void* input, const Strip& strip, char* scratch) const {
  const int zero = arithmetic_ == Arithmetic::bytes && input_is_signed_ ? 128 : 0;
  const int rows = reach(strip.rows, window_.stride_h, window_.kernel_h, window_.dilation_h);
  const int left = std::min(window_.pad_left, scratch_width_);
  const int columns = std::min(input_.width, scratch_width_ - left);
  const int right = scratch_width_ - left - columns;
  const std::size_t column_bytes = std::size_t(scratch_channels_) * element_bytes_;
  const int input_element = arithmetic_ == Arithmetic::floats ? 4 : 1;
  const std::size_t count = std::size_t(columns) * input_.channels;
  for (int image = 0; image < strip.images; ++image) {
    const char* from = static_cast<const char*>(input) + (strip.first_image + image) * input_.size() * input_element;
    for (int row = 0; row < rows; ++row) {
      char* to = scratch + image * strip.image_pitch + row * strip.row_pitch;
      const int y = strip.first_row * window_.stride_h - window_.pad_top + row;
      if (y < 0 || y >= input_.height) {
        std::memset(to, zero, strip.row_pitch);
        continue;
      }
      std::memset(to, zero, left * column_bytes);
      to += left * column_bytes;
      const char* line = from + std::size_t(y) * input_.width * input_.channels * input_element;
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(line);
      if (arithmetic_ == Arithmetic::words && multiplicity_ > 1) {
        std::int16_t* words = reinterpret_cast<std::int16_t*>(to);
        for (std::size_t i = 0; i < count; ++i) {
          const std::int16_t value = input_is_signed_ ? std::int8_t(bytes[i]) : bytes[i];
          words = std::fill_n(words, multiplicity_, value);
        }
      } else if (arithmetic_ == Arithmetic::words) {
        kernels_->widen(bytes, input_is_signed_, reinterpret_cast<std::int16_t*>(to), count);
      } else if (arithmetic_ == Arithmetic::bytes && input_is_signed_) {
        kernels_->flip_signs(bytes, reinterpret_cast<std::uint8_t*>(to), count);
      } else {
        std::memcpy(to, line, count * input_element);
      }
      std::memset(to + columns * column_bytes, zero, right * column_bytes);
    }
  }
}

void PackedConvolution::run_dense(const Strip& strip, const ConvolutionOutput& output) const {
  // Neighbouring pixels lie pixel_stride apart, also across rows and images where that happens to be true.
  std::ptrdiff_t pixel_stride = std::ptrdiff_t(window_.stride_w) * scratch_channels_ * element_bytes_;
  const std::ptrdiff_t row_advance = window_.stride_h * strip.row_pitch;
  int row_pixels = output_.width, rows = strip.rows, images = strip.images;
  if (row_pixels == 1) pixel_stride = row_advance;
  if (row_pixels * pixel_stride == row_advance) {
    row_pixels *= rows;
    rows = 1;
    if (row_pixels == 1) pixel_stride = strip.image_pitch;
    if (row_pixels * pixel_stride == strip.image_pitch) {
      row_pixels *= images;
      images = 1;
    }
  }
  const int group_size = kernels_->pixel_group;
  const bool single = row_pixels < group_size;

  const int element_size = output.real || arithmetic_ == Arithmetic::floats ? sizeof(float) : 1;
  const std::size_t first_pixel = (std::size_t(strip.first_image) * output_.height + strip.first_row) * output_.width;
  char* const first_output = static_cast<char*>(output.values) + first_pixel * filters_ * element_size;
  const char* pixels[block_groups];
  std::int32_t first_outputs[block_groups], output_counts[block_groups];
  DenseTask task{};
  task.arithmetic = arithmetic_;
  task.pixels = pixels;
  task.first_outputs = first_outputs;
  task.output_counts = output_counts;
  task.pixel_stride = single ? 0 : pixel_stride;
  task.run_offsets = run_offsets_.data();
  task.runs = int(run_offsets_.size());
  task.run_steps = run_steps_;
  task.filters = filters_ / groups_;
  task.range = output.range;
  task.output_stride = filters_;
  task.real = output.real;
  const std::ptrdiff_t group_bytes = std::ptrdiff_t(input_.channels / groups_) * element_bytes_;
  const auto flush = [&] {
    for (int group = 0; group < groups_; ++group) {
      task.weights = weights_.as<char>() + group * group_weight_bytes_;
      task.bias = bias_.data() + std::size_t(group) * group_filters_padded_;
      if (!multipliers_.empty()) {  // of integers
        task.multipliers = multipliers_.data() + std::size_t(group) * group_filters_padded_;
      }
      task.output = first_output + std::size_t(group) * task.filters * element_size;
      kernels_->dense(task);
      for (int i = 0; i < task.pixel_groups; ++i) pixels[i] += group_bytes;
    }
    task.pixel_groups = 0;
  };
  for (int image = 0; image < images; ++image) {
    for (int row = 0; row < rows; ++row) {
      const char* line = strip.input + image * strip.image_pitch + row * row_advance;
      const std::int32_t line_output = (image * rows + row) * row_pixels;
      for (int x = 0; x < row_pixels; x += group_size) {
        // the last group of a line overlaps the one before, so as not to read behind the line
        const int first = single ? x : std::min(x, row_pixels - group_size);
        pixels[task.pixel_groups] = line + first * pixel_stride;
        first_outputs[task.pixel_groups] = line_output + first;
        output_counts[task.pixel_groups] = single ? 1 : group_size;
        if (++task.pixel_groups == block_groups) flush();
      }
    }
  }
  if (task.pixel_groups > 0) flush();
}

void PackedConvolution::run_depthwise(const Strip& strip, const ConvolutionOutput& output) const {
  DepthwiseTask task{};
  task.pixels = output_.width;
  task.pixel_stride = std::ptrdiff_t(window_.stride_w) * scratch_channels_;
  task.tap_offsets = run_offsets_.data();
  task.tap_pairs = int(run_offsets_.size()) / 2;
  task.weights = weights_.as<std::int16_t>();
  task.bias = bias_.data();
  task.multipliers = multipliers_.data();
  task.channels = filters_;
  task.range = output.range;
  task.real = output.real;
  const std::size_t row_size = std::size_t(output_.width) * filters_ * (output.real ? sizeof(float) : 1);
  for (int image = 0; image < strip.images; ++image) {
    for (int row = 0; row < strip.rows; ++row) {
      task.input = reinterpret_cast<const std::int16_t*>(strip.input + image * strip.image_pitch +
                                                         row * window_.stride_h * strip.row_pitch);
      const std::size_t line = std::size_t(strip.first_image + image) * output_.height + strip.first_row + row;
      task.output = static_cast<char*>(output.values) + line * row_size;
      kernels_->depthwise(task);
    }
  }
}

}  // namespace bitcluster
