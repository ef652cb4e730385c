#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "host/weights/format.hpp"

namespace bitcluster {

struct AcceleratorField;
struct DesignInfo;

/// The design that a TOML file names, see design.hpp. It ends the program if there is none of that name.
const DesignInfo& design_named(std::string_view name);

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
  bitsim   //!< see bitsim_mapping() in peers.cpp; sign bits count as terms, steps of zeros are free
};

/// Where Bit-Tactical looks for a weight to fill the lane of a zero: ahead in time, aside in lanes.
enum class SearchShape { t, l };

inline constexpr int most_of_array = 4096;  //!< lanes, rows, columns, tiles
inline constexpr int most_lookaside = 16;   //!< lanes

/// An accelerator as its TOML file in configs/accelerators/ describes it. Buffers and prices are the same kind of
/// number for every design, so that only the rule and its arithmetic differ. A member has its line in
/// accelerator_fields().
struct Accelerator {
  std::string name;
  const DesignInfo* design = &design_named("bit_parallel");
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

  /// Term operations that one processing element starts per cycle: one per lane where the design does not say else.
  int slots_per_element() const;
  std::int64_t slots_per_cycle() const { return std::int64_t(slots_per_element()) * rows * columns * tiles; }

  /// Products of 8-bit operands per cycle when no bit is skipped.
  double dense_products_per_cycle() const;

  double array_mm2() const { return double(slots_per_cycle()) * lane_area * 1e-6; }
  double buffer_mm2() const { return double(weight_buffer + activation_buffer) * buffer_area * 1e-6; }
};

/// What makes an accelerator impossible, in a file or made in code; `key` is that of the file.
struct AcceleratorFault {
  std::string key, why, what_to_do;
};
std::optional<AcceleratorFault> fault_of(const Accelerator& accelerator);

/// A parameter of an accelerator: what its TOML key, its place in the content key and a table's column are made from.
struct AcceleratorField {
  using Member = std::variant<int Accelerator::*, std::int64_t Accelerator::*, double Accelerator::*,
                              FullyConnectedColumns Accelerator::*, Encoding Accelerator::*, SearchShape Accelerator::*,
                              Peer Accelerator::*>;
  using Value = std::variant<std::int64_t, double>;  //!< an enumerator as its number

  /// What a file may say.
  struct Values {
    double low = 0, high = 0;                   //!< in the file's unit; a design may have a lower limit
    std::int64_t unit = 1;                      //!< the file's unit, in the member's
    std::span<const std::string_view> names{};  //!< of an enumeration, all of them; empty ones are not to be said
    bool is_optional = false;                   //!< 0, the first enumerator, where the file does not say
    bool is_of_design = false;                  //!< only for designs that have the key among their own
  };

  Member member;
  std::string_view table;  //!< of the file; empty: its top; "technology.x": x of the technology's file
  std::string_view key;
  Values values;
  std::string_view unit, definition;

  Value of(const Accelerator& accelerator) const;
  void set(Accelerator& accelerator, Value value) const;
  /// The greatest value for a design.
  double high(const DesignInfo& design) const;
};

/// All members but the name and the design, in the order of the tables of a file.
std::span<const AcceleratorField> accelerator_fields();

/// The accelerator with an array of at most `array_mm2`: the same lanes and tiles, the columns halved until eight rows
/// fit (rounding to whole rows then wastes at most an eighth), and as many rows as fit. Error if not even one does.
Accelerator fit_area(const Accelerator& accelerator, double array_mm2);

}  // namespace bitcluster
