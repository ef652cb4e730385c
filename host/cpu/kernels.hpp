#pragma once

#include <cstddef>
#include <cstdint>

#include "host/inference/arithmetic.hpp"

// BITCLUSTER_NAME(add_, BITCLUSTER_KERNELS): a name of its own for every instruction set that a file is compiled for.
#define BITCLUSTER_NAME_OF(prefix, set) prefix##set
#define BITCLUSTER_NAME(prefix, set) BITCLUSTER_NAME_OF(prefix, set)

// Plain data and function pointers only: the files behind them are compiled once per instruction set.
namespace bitcluster {

/// How products are formed. One step multiplies 4 bytes of activations: four u8, two int16, or one float.
enum class Arithmetic {
  bytes,   //!< u8 activation x s8 weight -> int32
  words,   //!< int16 x int16 -> int32
  floats,  //!< float32
};

/// Convolution of a block of output pixels of one channel group with packed weights, as a matrix product.
/// A pixel's products are `runs` of contiguous activations. All offsets and strides are in bytes.
struct DenseTask {
  Arithmetic arithmetic;
  int pixel_groups;                   //!< groups of Kernels::pixel_group neighbouring output pixels
  const char* const* pixels;          //!< (pixel_groups) input of the first pixel of every group
  const std::int32_t* first_outputs;  //!< (pixel_groups) index of its output pixel
  const std::int32_t* output_counts;  //!< (pixel_groups) pixels of the group that exist
  std::ptrdiff_t pixel_stride;        //!< between the inputs of neighbouring pixels
  const std::ptrdiff_t* run_offsets;  //!< (runs)
  int runs;
  int run_steps;             //!< steps of 4 bytes in every run
  const char* weights;       //!< (filter block, run, step, filter of the block, 4 bytes)
  const void* bias;          //!< (filters, padded to vectors) int32 or float
  const float* multipliers;  //!< (filters, padded to vectors), unused with floats
  int filters;
  OutputRange range;
  void* output;                  //!< bytes, or floats where `real` or arithmetic is floats
  std::ptrdiff_t output_stride;  //!< output elements between neighbouring pixels
  bool real;                     //!< keep the rescaled sum as float
};

/// Depthwise convolution of one row of output pixels on int16 activations.
struct DepthwiseTask {
  const std::int16_t* input;  //!< first tap of the first pixel
  int pixels;
  std::ptrdiff_t pixel_stride;        //!< elements between neighbouring pixels
  const std::ptrdiff_t* tap_offsets;  //!< (2 * tap_pairs) elements
  int tap_pairs;
  const std::int16_t* weights;  //!< (channel block, tap pair, half, 2 * vector_width)
  const std::int32_t* bias;     //!< (channel block, half, vector_width)
  const float* multipliers;     //!< like bias
  int channels;
  OutputRange range;
  void* output;  //!< (pixels, channels) bytes, or floats where `real`
  bool real;
};

/// One 8-bit tensor as an operand.
struct Operand {
  const std::uint8_t* values;
  bool is_signed;
  float multiplier;
};

/// Where element-wise operations put their result.
struct Result {
  void* values;  //!< bytes, or floats where `real`
  OutputRange range;
  bool real;
};

/// One output row of a pooling window, already cut to what lies inside the input.
struct PoolTask {
  const std::uint8_t* const* positions;  //!< (count) channels of every input position
  int count;
  int channels;
  bool is_signed;
  float multiplier;
};

/// Sums of squares and products of what compensated rounding knows of a layer's inputs, in panels of so many inputs and
/// at most so many pairs of positions at a time: 16 KiB, and far from overflow.
constexpr int gram_panel = 16, gram_pairs = 256;

/// to -= left * right, products taken off one after the other in the order of the inner index, each rounded: the same
/// doubles with any vectors and however a product is cut into parts. Strides in elements; they may be negative.
struct MatrixProduct {
  double* to;  //!< (rows, columns)
  std::ptrdiff_t to_stride;
  const double* left;  //!< (rows, depth)
  std::ptrdiff_t left_stride;
  const double* right;  //!< (depth, columns)
  std::ptrdiff_t right_stride;
  int rows, depth, columns;
};

/// The kernels of one instruction set.
struct Kernels {
  const char* name;
  bool has_bytes;     //!< whether Arithmetic::bytes exists
  int vector_width;   //!< 32-bit elements of one vector
  int block_vectors;  //!< vectors of filters of one block; a last block may have one vector
  int pixel_group;

  void (*dense)(const DenseTask&);
  void (*depthwise)(const DepthwiseTask&);

  void (*flip_signs)(const std::uint8_t* from, std::uint8_t* to, std::size_t count);  //!< adds 128 to s8
  void (*widen)(const std::uint8_t* from, bool is_signed, std::int16_t* to, std::size_t count);

  void (*rescale)(Operand, Result, std::size_t count);
  void (*add)(Operand, Operand, Result, std::size_t count);
  void (*multiply)(Operand, Operand, Result, std::size_t count);  //!< multiplier of the first one
  void (*max_pool)(const PoolTask&, Result);
  void (*average_pool)(const PoolTask&, Result);
  /// from: (channels), before, after: channels around each that are summed, squares: int32 scratch (channels + before +
  /// after), table: by sum of squares
  void (*normalize)(Operand from, int channels, int before, int after, const float* table, std::int32_t* squares,
                    Result);

  /// Squared error of one block of weights; nearest: of a RoundingTable, whose last place is `last`
  double (*squared_error)(const float* weights, int count, double scale, const double* nearest, int last);

  /// Products of the rows of two panels, (pairs, gram_panel, 2) each, added over the pairs; products: (gram_panel of
  /// rows, gram_panel of columns)
  void (*gram)(const std::int16_t* rows, const std::int16_t* columns, int pairs, std::int32_t* products);
  void (*subtract_product)(const MatrixProduct&);
};

/// Null where this processor or this build lacks the instruction set: "portable", "avx2", "avx512-vnni".
const Kernels* find_kernels(const char* name);
/// The fastest set of this processor.
const Kernels& best_kernels();

}  // namespace bitcluster
