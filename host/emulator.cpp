#include "host/emulator.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "host/designs.hpp"
#include "host/error.hpp"
#include "host/parallel.hpp"

namespace bitcluster {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

/// How a layer is laid on the array (DESIGN section 5.1).
struct Mapping {
  bool fully_connected = false, depthwise = false;
  int groups = 1;    //!< worked on one after another; 1 if depthwise
  int filters = 0;   //!< per group
  int channels = 0;  //!< per group
  int taps = 1;      //!< kernel positions
  std::int64_t pixels = 1;

  int lanes = 0;    //!< channels per brick
  int rows = 0;     //!< filters per step, over all tiles
  int columns = 1;  //!< pixels per step

  std::int64_t pixel_sets() const { return ceil_div(pixels, columns); }
  int batches() const { return int(ceil_div(filters, rows)); }
  int bricks() const { return int(ceil_div(channels, lanes)); }
  std::int64_t steps_per_batch() const { return std::int64_t(taps) * bricks(); }
  std::int64_t steps() const { return groups * pixel_sets() * batches() * steps_per_batch(); }

  int rows_of(int batch) const { return std::min(rows, filters - batch * rows); }
  int lanes_of(int brick) const { return std::min(lanes, channels - brick * lanes); }
  int columns_of(std::int64_t set) const { return int(std::min<std::int64_t>(columns, pixels - set * columns)); }

  int lane_stride() const { return round_up(std::min(lanes, channels), operand_padding); }
  std::int64_t row_stride() const { return steps_per_batch() * lane_stride(); }
};

Mapping map_layer(const Accelerator& accelerator, const LayerGeometry& geometry) {
  Mapping mapping;
  mapping.fully_connected = geometry.fully_connected;
  mapping.depthwise = geometry.groups > 1 && geometry.channels_per_group() == 1;
  if (mapping.fully_connected) {
    mapping.filters = geometry.filters;
    mapping.channels = int(geometry.input.size());
  } else {
    mapping.groups = mapping.depthwise ? 1 : geometry.groups;
    mapping.filters = geometry.filters / mapping.groups;
    mapping.channels = geometry.channels_per_group();
    mapping.taps = geometry.window.kernel_h * geometry.window.kernel_w;
    mapping.pixels = std::int64_t(geometry.output.height) * geometry.output.width;
    mapping.columns = accelerator.columns;
  }
  mapping.lanes = accelerator.lanes;
  mapping.rows =
      mapping.depthwise ? std::min(accelerator.lanes, accelerator.rows) : accelerator.rows * accelerator.tiles;
  return mapping;
}

void check(const Accelerator& accelerator, const LayerTensors& layer) {
  const LayerGeometry& g = layer.geometry;
  const Window& w = g.window;
  const auto reject = [&](const std::string& why, const std::string& what_to_do) {
    throw Error("layer '" + g.name + "' cannot be emulated", why, what_to_do);
  };
  if (g.groups < 1 || g.filters < 1 || g.input.channels < 1 || g.filters % g.groups || g.input.channels % g.groups) {
    reject("its " + std::to_string(g.filters) + " filters and " + std::to_string(g.input.channels) +
               " channels do not divide into " + std::to_string(g.groups) + " groups",
           "correct the groups");
  }
  if (w.kernel_h < 1 || w.kernel_w < 1 || w.stride_h < 1 || w.stride_w < 1 || w.dilation_h < 1 || w.dilation_w < 1 ||
      w.pad_top < 0 || w.pad_left < 0 || w.pad_bottom < 0 || w.pad_right < 0) {
    reject("kernel, stride or dilation is below 1, or padding below 0", "correct the window");
  }
  const auto extent = [](int input, int kernel, int stride, int dilation, int pads) {
    const int span = dilation * (kernel - 1) + 1;
    return input + pads < span ? 0 : (input + pads - span) / stride + 1;
  };
  const Shape output = {g.filters,
                        extent(g.input.height, w.kernel_h, w.stride_h, w.dilation_h, w.pad_top + w.pad_bottom),
                        extent(g.input.width, w.kernel_w, w.stride_w, w.dilation_w, w.pad_left + w.pad_right)};
  if (!(output == g.output) || output.size() == 0) {
    reject("its window does not give its output shape", "correct the shapes");
  }
  if (g.fully_connected && (g.groups != 1 || w.kernel_h != g.input.height || w.kernel_w != g.input.width ||
                            output.height != 1 || output.width != 1 || w.dilation_h != 1 || w.dilation_w != 1)) {
    reject("it is fully connected but its kernel does not cover its input", "describe it as a convolution");
  }
  if (layer.weights.size() != std::size_t(g.filters) * g.channels_per_group() * w.kernel_h * w.kernel_w) {
    reject("the number of weights does not fit its shape", "give (filters, channels / groups, kernel_h, kernel_w)");
  }
  if (!layer.activations.empty() && layer.activations.size() != g.input.size()) {
    reject("the number of activations does not fit its input", "give one image, (channels, h, w)");
  }
  if (layer.activations.empty() && needs_activations(accelerator.design)) {
    reject("the cycles of " + accelerator.name + " depend on the activations and there are none",
           "give activations or leave this design out");
  }
}

/// Operands of one filter's weights, (taps, bricks, lane_stride), zeros where there is no lane.
void pack_weights(const Mapping& mapping, const OperandTable& table, const std::int16_t* weights,
                  std::uint16_t* packed) {
  std::fill_n(packed, mapping.row_stride(), std::uint16_t(0));
  const std::int64_t tap_stride = std::int64_t(mapping.bricks()) * mapping.lane_stride();
  for (int brick = 0; brick < mapping.bricks(); ++brick) {
    for (int lane = 0; lane < mapping.lanes_of(brick); ++lane) {
      for (int tap = 0; tap < mapping.taps; ++tap) {
        packed[tap * tap_stride + brick * mapping.lane_stride() + lane] = table[std::abs(int(*weights++))];
      }
    }
  }
}

/// Values of one image behind its zero padding, found by tap and pixel.
template <class T>
class PaddedImage {
 public:
  template <class Convert>
  PaddedImage(const LayerGeometry& geometry, const std::int16_t* activations, Convert&& convert)
      : window_(geometry.window), output_width_(geometry.output.width) {
    height_ = geometry.input.height + window_.pad_top + window_.pad_bottom;
    width_ = geometry.input.width + window_.pad_left + window_.pad_right;
    values_.assign(std::size_t(geometry.input.channels) * height_ * width_, T(0));
    parallel_for(geometry.input.channels, [&](long c, int) {
      const std::int16_t* source = activations + c * geometry.input.height * geometry.input.width;
      for (int y = 0; y < geometry.input.height; ++y) {
        T* target = values_.data() + (c * height_ + y + window_.pad_top) * width_ + window_.pad_left;
        for (int x = 0; x < geometry.input.width; ++x) target[x] = convert(*source++);
      }
    });
  }

  const T* channel(int c) const { return values_.data() + std::ptrdiff_t(c) * height_ * width_; }

  /// Offset inside a channel of what `tap` of output pixel `pixel` reads.
  std::ptrdiff_t offset(int tap, std::int64_t pixel) const {
    const std::int64_t y = pixel / output_width_ * window_.stride_h + tap / window_.kernel_w * window_.dilation_h;
    const std::int64_t x = pixel % output_width_ * window_.stride_w + tap % window_.kernel_w * window_.dilation_w;
    return y * width_ + x;
  }

 private:
  Window window_;
  int output_width_;
  std::int64_t height_, width_;
  std::vector<T> values_;
};

/// Sums over the steps of a layer.
struct Work {
  std::int64_t cycles = 0;     //!< of all steps, one after another
  std::int64_t occupied = 0;   //!< slots of lanes, rows and columns that hold a value
  std::int64_t element = 0;    //!< of these, until the processing element itself is done
  std::int64_t useful = 0;     //!< of these
  std::int64_t null_term = 0;  //!< of these

  Work& operator+=(const Work& other) {
    cycles += other.cycles;
    occupied += other.occupied;
    element += other.element;
    useful += other.useful;
    null_term += other.null_term;
    return *this;
  }
};

/// The work of a layer and, if it is fully connected, the cycles of every step in the order (batch, brick).
struct LayerWork {
  Work work;
  std::vector<std::int32_t> step_cycles;
};

Work total(const std::vector<Work>& parts) {
  return std::accumulate(parts.begin(), parts.end(), Work(), [](Work a, const Work& b) { return a += b; });
}

LayerWork walk(const Mapping& mapping, const LayerTensors& layer, const FixedRule& rule) {
  LayerWork result;
  Work& work = result.work;
  work.cycles = mapping.steps() * rule.cycles;
  work.occupied = std::int64_t(layer.weights.size()) * mapping.pixels * rule.cycles;
  work.element = work.occupied;
  work.useful = rule.useful;
  work.null_term = work.occupied - work.useful;
  if (mapping.fully_connected) result.step_cycles.assign(std::size_t(mapping.steps()), rule.cycles);
  return result;
}

LayerWork walk(const Mapping& mapping, const LayerTensors& layer, const WeightRule& rule) {
  LayerWork result;
  if (mapping.fully_connected) result.step_cycles.resize(std::size_t(mapping.steps()));
  std::vector<Work> parts(static_cast<std::size_t>(thread_count()));
  std::vector<std::vector<std::uint16_t>> buffers(parts.size());
  const std::int64_t filter_size = std::int64_t(mapping.channels) * mapping.taps;
  parallel_for(long(mapping.groups) * mapping.batches(), [&](long task, int thread) {
    const int group = int(task / mapping.batches()), batch = int(task % mapping.batches());
    const int rows = mapping.rows_of(batch);
    const std::int64_t first_filter = std::int64_t(group) * mapping.filters + std::int64_t(batch) * mapping.rows;
    std::vector<std::uint16_t>& packed = buffers[thread];
    packed.resize(std::size_t(mapping.row_stride()) * mapping.rows);
    for (int r = 0; r < rows; ++r) {
      pack_weights(mapping, rule.operands, layer.weights.data() + (first_filter + r) * filter_size,
                   packed.data() + r * mapping.row_stride());
    }
    Work sum;
    for (std::int64_t step = 0; step < mapping.steps_per_batch(); ++step) {
      const int lanes = mapping.lanes_of(int(step % mapping.bricks()));
      std::int64_t cycles = 1, element_cycles = 0;
      for (int r = 0; r < rows; ++r) {
        const BrickCost cost =
            rule.brick(packed.data() + r * mapping.row_stride() + step * mapping.lane_stride(), lanes);
        cycles = std::max<std::int64_t>(cycles, cost.cycles);
        element_cycles += cost.cycles;
        sum.useful += cost.useful;
        sum.null_term += cost.null_term;
      }
      sum.cycles += cycles;
      sum.occupied += cycles * rows * lanes;
      sum.element += element_cycles * lanes;
      if (mapping.fully_connected) result.step_cycles[task * mapping.steps_per_batch() + step] = std::int32_t(cycles);
    }
    // the same for every set of pixels, and for every pixel of a set
    parts[thread] += Work{sum.cycles * mapping.pixel_sets(), sum.occupied * mapping.pixels,
                          sum.element * mapping.pixels, sum.useful * mapping.pixels, sum.null_term * mapping.pixels};
  });
  result.work = total(parts);
  return result;
}

LayerWork walk(const Mapping& mapping, const LayerTensors& layer, const PairRule& rule) {
  LayerWork result;
  if (mapping.fully_connected) result.step_cycles.resize(std::size_t(mapping.steps()));
  // A fully connected layer is one pixel whose channels are all its input values.
  LayerGeometry geometry = layer.geometry;
  if (mapping.fully_connected) {
    geometry.input = {mapping.channels, 1, 1};
    geometry.window = Window();
  }
  const PaddedImage<std::uint16_t> image(geometry, layer.activations.data(),
                                         [&](std::int16_t value) { return rule.operands[std::abs(int(value))]; });
  const int multiplier = geometry.filters / geometry.groups;  // depthwise: filters that read the same channel
  const int sources = mapping.depthwise ? mapping.filters : mapping.channels;  // what a pixel reads per tap and group
  const int column_stride = round_up(mapping.columns, operand_padding);
  const std::int64_t filter_size = std::int64_t(mapping.channels) * mapping.taps;

  // Packed weights are kept to a few megabytes: so many filter batches at a time, all of them in most layers.
  constexpr std::int64_t most_operands = 1 << 22;
  const int batches_at_once =
      int(std::clamp<std::int64_t>(most_operands / (mapping.row_stride() * mapping.rows), 1, mapping.batches()));
  std::vector<std::uint16_t> packed(std::size_t(batches_at_once) * mapping.rows * mapping.row_stride());
  std::vector<Work> parts(static_cast<std::size_t>(thread_count()));
  std::vector<std::vector<std::uint16_t>> buffers(parts.size());

  for (int group = 0; group < mapping.groups; ++group) {
    for (int first_batch = 0; first_batch < mapping.batches(); first_batch += batches_at_once) {
      const int last_batch = std::min(first_batch + batches_at_once, mapping.batches());
      const int first_filter = first_batch * mapping.rows;
      const int last_filter = std::min(last_batch * mapping.rows, mapping.filters);
      parallel_for(last_filter - first_filter, [&](long f, int) {
        pack_weights(mapping, rule.operands,
                     layer.weights.data() + (std::int64_t(group) * mapping.filters + first_filter + f) * filter_size,
                     packed.data() + f * mapping.row_stride());
      });
      // With few sets of pixels the batches of one set are spread over the threads, too.
      const int splits = mapping.pixel_sets() < 16 ? last_batch - first_batch : 1;
      parallel_for(long(mapping.pixel_sets() * splits), [&](long task, int thread) {
        const std::int64_t set = task / splits;
        const int begin = splits == 1 ? first_batch : first_batch + int(task % splits);
        const int end = splits == 1 ? last_batch : begin + 1;
        const int columns = mapping.columns_of(set);

        // activations of this set of pixels, (taps, sources, column_stride), zeros where there is no column
        std::vector<std::uint16_t>& columns_of_taps = buffers[thread];
        columns_of_taps.assign(std::size_t(mapping.taps) * sources * column_stride, 0);
        std::vector<std::ptrdiff_t> offsets(static_cast<std::size_t>(columns));
        std::uint16_t* target = columns_of_taps.data();
        for (int tap = 0; tap < mapping.taps; ++tap) {
          for (int c = 0; c < columns; ++c) offsets[c] = image.offset(tap, set * mapping.columns + c);
          for (int source = 0; source < sources; ++source, target += column_stride) {
            const std::uint16_t* values =
                image.channel(mapping.depthwise ? source / multiplier : group * mapping.channels + source);
            for (int c = 0; c < columns; ++c) target[c] = values[offsets[c]];
          }
        }

        Work sum;
        for (int batch = begin; batch < end; ++batch) {
          const int rows = mapping.rows_of(batch);
          for (std::int64_t step = 0; step < mapping.steps_per_batch(); ++step) {
            const int tap = int(step / mapping.bricks()), brick = int(step % mapping.bricks());
            StepView view;
            view.lanes = mapping.lanes_of(brick);
            view.rows = rows;
            view.columns = columns;
            view.weights = packed.data() + (batch - first_batch) * mapping.rows * mapping.row_stride() +
                           step * mapping.lane_stride();
            view.row_stride = mapping.row_stride();
            view.lane_stride = column_stride;
            StepCost cost;
            if (mapping.depthwise) {
              view.rows = 1;
              for (int r = 0; r < rows; ++r, view.weights += mapping.row_stride()) {
                view.activations =
                    columns_of_taps.data() + (std::int64_t(tap) * sources + batch * mapping.rows + r) * column_stride;
                const StepCost diagonal = rule.step(view);
                cost.cycles = std::max(cost.cycles, diagonal.cycles);
                cost.element_cycles += diagonal.element_cycles;
                cost.useful += diagonal.useful;
                cost.null_term += diagonal.null_term;
              }
            } else {
              view.activations =
                  columns_of_taps.data() + (std::int64_t(tap) * sources + brick * mapping.lanes) * column_stride;
              cost = rule.step(view);
            }
            sum += Work{cost.cycles, cost.cycles * view.lanes * rows * columns, cost.element_cycles * view.lanes,
                        cost.useful, cost.null_term};
            if (mapping.fully_connected) {
              result.step_cycles[batch * mapping.steps_per_batch() + step] = std::int32_t(cost.cycles);
            }
          }
        }
        parts[thread] += sum;
      });
    }
  }
  result.work = total(parts);
  return result;
}

/// Cycles until the last step is done when steps are dealt to the columns in turn and one may start per cycle.
std::int64_t rotate(std::span<const std::int32_t> step_cycles, int columns) {
  std::vector<std::int64_t> finish(static_cast<std::size_t>(columns), 0);
  std::int64_t now = 0;
  int column = 0;
  for (const std::int32_t cycles : step_cycles) {
    now = std::max(now, finish[column]);
    finish[column] = now + cycles;
    ++now;
    if (++column == columns) column = 0;
  }
  return *std::max_element(finish.begin(), finish.end());
}

Traffic traffic_of(const Accelerator& accelerator, const LayerTensors& layer, const Mapping& mapping) {
  const LayerGeometry& geometry = layer.geometry;
  const double weights = double(layer.weights.size()) * encoded_weight_bits(accelerator, layer) / 8;
  const double input = double(geometry.input.size()) * layer.activation_bits / 8;
  const double output = double(geometry.output.size()) * layer.activation_bits / 8;
  const double weight_passes = std::ceil(weights / geometry.groups / double(accelerator.weight_buffer));
  const double input_passes = std::ceil(input / geometry.groups / double(accelerator.activation_buffer));
  Traffic traffic;
  const bool keep_weights = weights + weight_passes * input <= input_passes * weights + input;
  traffic.weights_off_chip = keep_weights ? weights : input_passes * weights;
  traffic.activations_off_chip = (keep_weights ? weight_passes * input : input) + output;

  const double step_reads = mapping.depthwise
                                ? double(mapping.filters) * mapping.taps
                                : double(mapping.groups) * mapping.batches() * mapping.channels * mapping.taps;
  traffic.weights_on_chip = traffic.weights_off_chip + weights * double(mapping.pixel_sets());
  traffic.activations_on_chip =
      traffic.activations_off_chip + output + step_reads * double(mapping.pixels) * layer.activation_bits / 8;
  return traffic;
}

Energy energy_of(const Accelerator& accelerator, const LayerEmulation& layer) {
  const Traffic& traffic = layer.traffic;
  Energy energy;
  energy.compute = double(layer.slots.useful + layer.slots.null_term) * accelerator.term_energy;
  energy.on_chip = (traffic.weights_on_chip + traffic.activations_on_chip) * accelerator.on_chip_energy;
  energy.off_chip = (traffic.weights_off_chip + traffic.activations_off_chip) * accelerator.off_chip_energy;
  energy.leakage = double(layer.cycles) * accelerator.leakage_energy;
  return energy;
}

}  // namespace

LayerGeometry layer_geometry(const Network& network, int layer) {
  const Layer& node = network.layers.at(std::size_t(layer));
  const auto* convolution = std::get_if<Convolution>(&node.operation);
  if (!convolution) {
    throw Error("layer '" + node.name + "' cannot be emulated", "it has no weights",
                "take the indices from weighted_layers()");
  }
  LayerGeometry geometry;
  geometry.name = node.name;
  geometry.fully_connected = convolution->fully_connected;
  geometry.filters = convolution->filters;
  geometry.groups = convolution->groups;
  geometry.window = convolution->window;
  geometry.input = network.layers.at(std::size_t(node.inputs.at(0))).output;
  geometry.output = node.output;
  return geometry;
}

LayerEmulation emulate(const Accelerator& accelerator, const LayerTensors& layer) {
  check(accelerator, layer);
  const Mapping mapping = map_layer(accelerator, layer.geometry);
  const LayerWork walked =
      std::visit([&](const auto& rule) { return walk(mapping, layer, rule); }, design_rule(accelerator, layer));
  const Work& work = walked.work;

  LayerEmulation result;
  result.zero_bits_known = accelerator.design != Design::stripes || !layer.activations.empty();
  const bool rotating = mapping.fully_connected && accelerator.fc_columns == FullyConnectedColumns::rotate;
  result.compute_cycles = rotating ? rotate(walked.step_cycles, accelerator.columns) : work.cycles;
  result.traffic = traffic_of(accelerator, layer, mapping);
  const double bytes_per_cycle = accelerator.off_chip_gbyte_per_s / accelerator.clock_ghz;
  result.memory_cycles = std::int64_t(
      std::ceil((result.traffic.weights_off_chip + result.traffic.activations_off_chip) / bytes_per_cycle));
  result.cycles = std::max(result.compute_cycles, result.memory_cycles);

  // Columns that ever get a brick; in a step, mapping.columns of them work.
  const std::int64_t columns = !mapping.fully_connected ? accelerator.columns
                               : rotating               ? std::min<std::int64_t>(accelerator.columns, mapping.steps())
                                                        : 1;
  const std::int64_t per_column = accelerator.lanes_in_all() / accelerator.columns;
  const std::int64_t working = per_column * mapping.columns * work.cycles;  // slots of columns while a step is on them
  Slots& slots = result.slots;
  slots.total = accelerator.lanes_in_all() * result.cycles;
  slots.useful = work.useful;
  slots.null_term = work.null_term;
  slots.lane = work.element - work.useful - work.null_term;
  slots.row_column = work.occupied - work.element + per_column * columns * result.compute_cycles - working;
  slots.edge = working - work.occupied + per_column * (accelerator.columns - columns) * result.compute_cycles;
  slots.memory = accelerator.lanes_in_all() * (result.cycles - result.compute_cycles);
  result.energy = energy_of(accelerator, result);
  return result;
}

LayerFunction emulate_function(const Accelerator& accelerator, const LayerTensors& layer) {
  check(accelerator, layer);
  const std::string what = "layer '" + layer.geometry.name + "' cannot run in functional mode";
  if (layer.activations.empty()) throw Error(what, "it has no activations", "give one image of them");
  const BrickArithmetic brick_sum = brick_arithmetic(accelerator, layer);
  if (!brick_sum) throw Error(what, accelerator.name + " has no arithmetic of its own", "emulate its cycles only");

  const Mapping mapping = map_layer(accelerator, layer.geometry);
  LayerGeometry geometry = layer.geometry;
  if (mapping.fully_connected) {
    geometry.input = {mapping.channels, 1, 1};
    geometry.window = Window();
  }
  const PaddedImage<std::int16_t> image(geometry, layer.activations.data(), [](std::int16_t value) { return value; });
  const int multiplier = geometry.filters / geometry.groups;
  const std::int64_t steps_per_group = mapping.pixel_sets() * mapping.batches() * mapping.steps_per_batch();

  std::vector<std::int64_t> sums(geometry.output.size(), 0);
  std::vector<std::int32_t> step_cycles(std::size_t(mapping.steps()), 1);
  parallel_for(long(mapping.groups) * mapping.batches(), [&](long task, int) {
    const int group = int(task / mapping.batches()), batch = int(task % mapping.batches());
    std::vector<std::int16_t> weights(static_cast<std::size_t>(mapping.lanes)), activations(weights.size());
    for (std::int64_t set = 0; set < mapping.pixel_sets(); ++set) {
      for (std::int64_t step = 0; step < mapping.steps_per_batch(); ++step) {
        const int tap = int(step / mapping.bricks()), brick = int(step % mapping.bricks());
        const int lanes = mapping.lanes_of(brick);
        std::int32_t& cycles =
            step_cycles[group * steps_per_group + (set * mapping.batches() + batch) * mapping.steps_per_batch() + step];
        for (int r = 0; r < mapping.rows_of(batch); ++r) {
          const std::int64_t filter = std::int64_t(group) * mapping.filters + batch * mapping.rows + r;
          for (int l = 0; l < lanes; ++l) {
            const std::int64_t channel = brick * mapping.lanes + l;
            weights[l] = layer.weights[(filter * mapping.channels + channel) * mapping.taps + tap];
          }
          for (int c = 0; c < mapping.columns_of(set); ++c) {
            const std::int64_t pixel = set * mapping.columns + c;
            for (int l = 0; l < lanes; ++l) {
              const int channel =
                  mapping.depthwise ? int(filter / multiplier) : group * mapping.channels + brick * mapping.lanes + l;
              activations[l] = image.channel(channel)[image.offset(tap, pixel)];
            }
            const int element =
                brick_sum(weights.data(), activations.data(), lanes, sums[filter * mapping.pixels + pixel]);
            cycles = std::max(cycles, std::int32_t(element));
          }
        }
      }
    }
  });

  LayerFunction result;
  const bool rotating = mapping.fully_connected && accelerator.fc_columns == FullyConnectedColumns::rotate;
  result.compute_cycles = rotating ? rotate(step_cycles, accelerator.columns)
                                   : std::accumulate(step_cycles.begin(), step_cycles.end(), std::int64_t(0));
  result.sums.reserve(sums.size());
  for (const std::int64_t sum : sums) {
    if (sum != std::int32_t(sum)) throw Error(what, "a sum does not fit int32", "use smaller values");
    result.sums.push_back(std::int32_t(sum));
  }
  return result;
}

}  // namespace bitcluster
