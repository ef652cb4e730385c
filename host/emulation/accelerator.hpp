#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "host/weights/format.hpp"

namespace bitcluster {

/// Which design's rule gives the cycles of a step. One entry, one function in designs.cpp.
enum class Design {
  bit_parallel,       //!< DaDianNao
  stripes,            //!< serial on activations, one precision per layer
  dynamic_stripes,    //!< serial on activations, precision of the values in flight
  loom,               //!< serial on activations and weights, precision of the values in flight
  pragmatic,          //!< serial on the terms of activations
  pragmatic_weights,  //!< serial on the terms of weights
  laconic,            //!< serial on the terms of both
  tactical_p,         //!< Bit-Tactical: zero weights skipped, then Dynamic Stripes
  tactical_e,         //!< Bit-Tactical: zero weights skipped, then Pragmatic on activations
  bitlet,             //!< one weight bit of each significance per cycle
  bitwave,            //!< nonzero bit columns of a group of weights
  bitvert,            //!< bit columns of a group of weights, at most half of them ones
  bitcluster          //!< N terms of every weight
};

/// As TOML files name them.
const std::map<std::string, Design>& design_names();
std::string to_string(Design design);

/// Whether a design's cycles depend on the activations' values. Others use activations, where given, only to tell
/// effectual bits from zero bits.
bool needs_activations(Design design);

/// Whether any count depends on the activations' values: of those that need them, and of Stripes' useful slots. For the
/// other designs one image stands for all.
bool looks_at_activations(Design design);

/// Whether a design is serial on weights alone, so that its cycles are the same for all pixels.
bool serial_on_weights(Design design);

/// What the columns do in a fully connected layer, which has one pixel.
enum class FullyConnectedColumns {
  rotate,  //!< bricks are dealt to the columns in turn and one step may start per cycle
  single   //!< one column works
};

/// A peer simulator whose quirks are taken over, so that compute_cycles equals its count.
enum class Peer {
  none,
  dnnsim,  //!< pixels and taps run fastest along h; a strided layer of 3 channels is folded space to depth; a padded
           //!< channel of Bit-Tactical brings the first activation of the first brick
  bitsim   //!< see bitsim_mapping in mapping.cpp; sign bits count as terms, steps of zeros are free
};

/// Where Bit-Tactical looks for a weight to fill the lane of a zero: ahead in time, aside in lanes.
enum class SearchShape { t, l };

/// What the integers of an accelerator may be.
struct Range {
  int low, high;
};
inline constexpr Range of_array = {1, 4096}, of_registers = {0, 64}, of_bits = {1, 16};
inline constexpr Range of_shift = {0, 4};  //!< 2^4 positions are all that a term may have
inline constexpr Range of_lookahead = {1, 8}, of_lookaside = {0, 16};
Range of_lanes(Design design);

/// An accelerator as its TOML file in configs/accelerators/ describes it. Buffers and prices are the same kind of
/// number for every design, so that only the rule and its arithmetic differ.
struct Accelerator {
  std::string name;
  Design design = Design::bit_parallel;
  Peer peer = Peer::none;

  int lanes = 16;   //!< products (or terms) per processing element
  int rows = 16;    //!< filters per tile
  int columns = 1;  //!< output pixels
  int tiles = 1;
  FullyConnectedColumns fc_columns = FullyConnectedColumns::rotate;

  Encoding encoding = Encoding::binary;  //!< how Pragmatic, Laconic and TCLe write magnitudes; BitCluster: of traces
  int first_stage_shift = 0;             //!< S of Pragmatic: a lane may be 2^S - 1 positions ahead of the lowest
  int column_registers = 0;              //!< D: a step starts in a column once all have finished step n - 1 - D
  int precision = 0;                     //!< activation bits of Stripes; 0: the layer's own
  int bits_per_cycle = 1;                //!< activation bits that Loom takes at once
  int weight_bits = 0;                   //!< weight bits of Loom; 0: the layer's own
  int significances = 8;                 //!< bit positions that Bitlet works on side by side
  SearchShape search_shape = SearchShape::t;
  int lookahead = 2, lookaside = 5;  //!< of Bit-Tactical

  double clock_ghz = 1;                //!< [GHz]
  std::int64_t weight_buffer = 0;      //!< [byte]
  std::int64_t activation_buffer = 0;  //!< [byte]
  double off_chip_gbyte_per_s = 0;     //!< [GB/s]
  double term_energy = 0;              //!< per executed term operation, accumulation included [pJ]
  double on_chip_energy = 0;           //!< per byte read from or written to a buffer [pJ]
  double off_chip_energy = 0;          //!< per byte [pJ]
  double leakage_energy = 0;           //!< per cycle [pJ]
  double lane_area = 0;                //!< one slot with its share of the accumulator [um^2]
  double buffer_area = 0;              //!< per byte [um^2]

  /// Term operations that one processing element starts per cycle. Bitlet: one per significance, BitVert: one per pair
  /// of lanes, the others: one per lane.
  int slots_per_element() const;
  std::int64_t slots_per_cycle() const { return std::int64_t(slots_per_element()) * rows * columns * tiles; }

  double array_mm2() const { return double(slots_per_cycle()) * lane_area * 1e-6; }
  double buffer_mm2() const { return double(weight_buffer + activation_buffer) * buffer_area * 1e-6; }
};

/// What makes an accelerator impossible, in a file or made in code; `key` is that of the file.
struct AcceleratorFault {
  std::string key, why, what_to_do;
};
std::optional<AcceleratorFault> fault_of(const Accelerator& accelerator);

/// The accelerator with an array of at most `array_mm2`: the same lanes and tiles, the columns halved until eight rows
/// fit (rounding to whole rows then wastes at most an eighth), and as many rows as fit. Error if not even one does.
Accelerator fit_area(const Accelerator& accelerator, double array_mm2);

}  // namespace bitcluster
