#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "host/inference/arithmetic.hpp"
#include "host/inference/integer_network.hpp"

namespace bitcluster {

/// Numbers that the integer arithmetic of one layer needs beside its weights, computed once in double on the host and
/// shared by all backends. "Output unit" is the scale of the output's format; for the last layer, which gives real
/// logits, it is 1.
struct LayerConstants {
  OutputRange range;               //!< format and clamp as integers; for the last layer its clamp in real values
  std::vector<float> multipliers;  //!< per input: its scale in output units; Multiply: one, the product's
  std::vector<float> position_multipliers;  //!< average pooling: (h, w)
  std::array<std::uint8_t, 256> bytes{};    //!< Function, Rearrange: output by the input's byte
  std::array<float, 256> reals{};           //!< the same for the last layer
  bool copies = false;                      //!< integers pass unchanged from every input
  std::vector<float> square_table;          //!< LocalResponseNorm: multiplier by the integer sum of squares
  std::vector<std::int32_t> source;  //!< Rearrange: input element of every output element, both (h, w, c); -1: zero
};

/// Error where a LocalResponseNorm can overflow int32.
LayerConstants layer_constants(const IntegerNetwork& network, int layer);

/// Channels before and behind one that a LocalResponseNorm sums over, as far as a tensor can have them: the size of its
/// window may be anything.
struct ChannelWindow {
  int before, after;
};
ChannelWindow channel_window(const LocalResponseNorm& norm, int channels);

}  // namespace bitcluster
