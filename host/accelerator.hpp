#pragma once

#include <cstdint>
#include <string>

#include "host/quantize.hpp"

namespace bitcluster {

/// Which design's rule gives the cycles of a step (DESIGN section 5.2). One entry, one function in designs.cpp.
enum class Design { bit_parallel, stripes, pragmatic_weights, laconic, bitcluster };

/// Whether a design's cycles depend on the activations' values. Others use activations, where given, only to tell
/// effectual bits from zero bits.
bool needs_activations(Design design);

/// What the columns do in a fully connected layer, which has one pixel.
enum class FullyConnectedColumns {
  rotate,  //!< bricks are dealt to the columns in turn and one step may start per cycle
  single   //!< one column works
};

/// An accelerator as its TOML file in configs/accelerators/ describes it. Buffers and prices are the same kind of
/// number for every design, so that only the rule and its arithmetic differ.
struct Accelerator {
  std::string name;
  Design design = Design::bit_parallel;

  int lanes = 16;   //!< products (or terms) per processing element
  int rows = 16;    //!< filters per tile
  int columns = 1;  //!< output pixels
  int tiles = 1;
  FullyConnectedColumns fc_columns = FullyConnectedColumns::rotate;

  Encoding encoding = Encoding::binary;  //!< how Pragmatic and Laconic write magnitudes; BitCluster: of traces
  int first_stage_shift = 0;             //!< S of Pragmatic: a lane may be 2^S - 1 positions ahead of the lowest
  int precision = 0;                     //!< activation bits of Stripes; 0: the layer's own

  double clock_ghz = 1;                //!< [GHz]
  std::int64_t weight_buffer = 0;      //!< [byte]
  std::int64_t activation_buffer = 0;  //!< [byte]
  double off_chip_gbyte_per_s = 0;     //!< [GB/s]
  double term_energy = 0;              //!< per executed term operation, accumulation included [pJ]
  double on_chip_energy = 0;           //!< per byte read from or written to a buffer [pJ]
  double off_chip_energy = 0;          //!< per byte [pJ]
  double leakage_energy = 0;           //!< per cycle [pJ]
  double lane_area = 0;                //!< one lane with its share of the accumulator [um^2]
  double buffer_area = 0;              //!< per byte [um^2]

  std::int64_t lanes_in_all() const { return std::int64_t(lanes) * rows * columns * tiles; }
  double area_mm2() const {
    return (double(lanes_in_all()) * lane_area + double(weight_buffer + activation_buffer) * buffer_area) * 1e-6;
  }
};

/// Error for an unreadable file, an unknown or misspelled key (also one that the design has no use for), an impossible
/// value.
Accelerator load_accelerator(const std::string& path);

}  // namespace bitcluster
