// Compiled once per instruction set: BITCLUSTER_KERNELS names the set (see CMakeLists.txt).

#include "host/cpu/kernels.hpp"
#include "host/cpu/vectors.hpp"

namespace bitcluster {
namespace {

/// Rows of a tile, and vectors of one panel: as many sums as stay in registers.
constexpr int panel_vectors = gram_panel / vector_width;
constexpr int gram_rows = vector_width == 16 ? 16 : 4;

void multiply_panels(const std::int16_t* rows, const std::int16_t* columns, int pairs, std::int32_t* products) {
  constexpr int pair = 2;
  for (int first = 0; first < gram_panel; first += gram_rows) {
    Integers sums[gram_rows][panel_vectors] = {};
    const std::int16_t *row = rows + first * pair, *column = columns;
    for (int i = 0; i < pairs; ++i) {
      Integers others[panel_vectors];
      unroll<panel_vectors>([&](auto v)
                                __attribute__((always_inline)) { others[v] = load(column + v * vector_width * pair); });
      unroll<gram_rows>([&](auto r) __attribute__((always_inline)) {
        const Integers own = broadcast(reinterpret_cast<const char*>(row + r * pair));
        unroll<panel_vectors>([&](auto v) __attribute__((always_inline)) {
          sums[r][v] = multiply_add_words(sums[r][v], own, others[v]);
        });
      });
      row += gram_panel * pair;
      column += gram_panel * pair;
    }
    unroll<gram_rows>([&](auto r) __attribute__((always_inline)) {
      unroll<panel_vectors>([&](auto v) __attribute__((always_inline)) {
        store(products + (first + r) * gram_panel + v * vector_width, sums[r][v]);
      });
    });
  }
}

using Doubles = double __attribute__((vector_size(vector_width * 4), aligned(8), may_alias));
constexpr int doubles = vector_width / 2;

/// Some rows of a product and some vectors of columns.
template <int rows, int vectors>
BITCLUSTER_INLINE void subtract_tile(const MatrixProduct& product, int row, int column) {
  double* const to = product.to + row * product.to_stride + column;
  const double* const left = product.left + row * product.left_stride;
  const double* right = product.right + column;
  Doubles sums[rows][vectors];
  unroll<rows>([&](auto r) __attribute__((always_inline)) {
    unroll<vectors>([&](auto v) __attribute__((always_inline)) {
      sums[r][v] = *reinterpret_cast<const Doubles*>(to + r * product.to_stride + v * doubles);
    });
  });
  for (int k = 0; k < product.depth; ++k) {
    Doubles factors[vectors];
    unroll<vectors>([&](auto v) __attribute__((always_inline)) {
      factors[v] = *reinterpret_cast<const Doubles*>(right + v * doubles);
    });
    unroll<rows>([&](auto r) __attribute__((always_inline)) {
      const double factor = left[r * product.left_stride + k];
      unroll<vectors>([&](auto v) __attribute__((always_inline)) { sums[r][v] -= factor * factors[v]; });
    });
    right += product.right_stride;
  }
  unroll<rows>([&](auto r) __attribute__((always_inline)) {
    unroll<vectors>([&](auto v) __attribute__((always_inline)) {
      *reinterpret_cast<Doubles*>(to + r * product.to_stride + v * doubles) = sums[r][v];
    });
  });
}

template <int rows>
BITCLUSTER_INLINE void subtract_rows(const MatrixProduct& product, int row) {
  int column = 0;
  for (; column + 2 * doubles <= product.columns; column += 2 * doubles) subtract_tile<rows, 2>(product, row, column);
  for (; column + doubles <= product.columns; column += doubles) subtract_tile<rows, 1>(product, row, column);
  for (; column < product.columns; ++column) {
    for (int r = row; r < row + rows; ++r) {
      double sum = product.to[r * product.to_stride + column];
      for (int k = 0; k < product.depth; ++k) {
        sum -= product.left[r * product.left_stride + k] * product.right[k * product.right_stride + column];
      }
      product.to[r * product.to_stride + column] = sum;
    }
  }
}

void subtract_product(const MatrixProduct& product) {
  int row = 0;
  for (; row + 4 <= product.rows; row += 4) subtract_rows<4>(product, row);
  for (; row < product.rows; ++row) subtract_rows<1>(product, row);
}

}  // namespace

void BITCLUSTER_NAME(add_compensation_kernels_, BITCLUSTER_KERNELS)(Kernels& kernels) {
  kernels.gram = multiply_panels;
  kernels.subtract_product = subtract_product;
}

}  // namespace bitcluster
