#pragma once

#include <immintrin.h>

#include <cstdint>

#include "host/inference/arithmetic.hpp"

// The vector operations that kernels are written in, for the instruction set that the including file is compiled for.
// Everything is forced inline: no symbol of a file compiled for one processor may be used on another.
#define BITCLUSTER_INLINE [[gnu::always_inline]] static inline

namespace bitcluster {
namespace {

template <int value>
struct Constant {
  constexpr operator int() const { return value; }
};

/// Calls body(Constant<0>) ... body(Constant<count - 1>): a loop whose index is a constant, so that arrays of vectors
/// stay in registers.
template <int count, class Body>
BITCLUSTER_INLINE void unroll(Body&& body) {
  if constexpr (count > 0) {
    unroll<count - 1>(body);
    body(Constant<count - 1>{});
  }
}

/// The 4 bytes of activations of one step.
BITCLUSTER_INLINE std::int32_t load_step(const char* from) {
  std::int32_t step;
  __builtin_memcpy(&step, from, sizeof step);
  return step;
}

#if defined(__AVX512VNNI__)

constexpr int vector_width = 16;
constexpr int pixel_group = 2;
constexpr int block_groups[2] = {8, 6};  // pixel groups of a tile with 1 and with 2 vectors of filters: 16 and 24 sums
using Integers = __m512i;
using Floats = __m512;

BITCLUSTER_INLINE Integers load(const void* from) { return _mm512_loadu_si512(from); }
BITCLUSTER_INLINE void store(void* to, Integers a) { _mm512_storeu_si512(to, a); }
BITCLUSTER_INLINE Floats load_floats(const float* from) { return _mm512_loadu_ps(from); }
BITCLUSTER_INLINE Integers broadcast(const char* from) { return _mm512_set1_epi32(load_step(from)); }
BITCLUSTER_INLINE Floats broadcast_float(const char* from) {
  return _mm512_set1_ps(*reinterpret_cast<const float*>(from));
}
BITCLUSTER_INLINE Integers multiply_add_words(Integers sum, Integers a, Integers b) {
  return _mm512_dpwssd_epi32(sum, a, b);
}
BITCLUSTER_INLINE Integers multiply_add_bytes(Integers sum, Integers a, Integers b) {
  return _mm512_dpbusd_epi32(sum, a, b);
}
BITCLUSTER_INLINE Floats multiply_add_floats(Floats sum, Floats a, Floats b) { return _mm512_fmadd_ps(a, b, sum); }
BITCLUSTER_INLINE Integers interleave_low(Integers a, Integers b) { return _mm512_unpacklo_epi16(a, b); }
BITCLUSTER_INLINE Integers interleave_high(Integers a, Integers b) { return _mm512_unpackhi_epi16(a, b); }
BITCLUSTER_INLINE Floats to_floats(Integers a) { return _mm512_cvtepi32_ps(a); }
BITCLUSTER_INLINE Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
BITCLUSTER_INLINE Floats clamp(Floats a, OutputRange range) {
  return _mm512_min_ps(_mm512_set1_ps(range.high), _mm512_max_ps(_mm512_set1_ps(range.low), a));
}
BITCLUSTER_INLINE Integers round(Floats a) { return _mm512_cvtps_epi32(a); }
BITCLUSTER_INLINE void store_floats(float* to, Floats a, int count) {
  _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), a);
}
/// The low byte of every element.
BITCLUSTER_INLINE void store_bytes(std::uint8_t* to, Integers a, int count) {
  const __m128i bytes = _mm512_cvtepi32_epi8(a);
  if (count == vector_width) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
  } else {
    _mm_mask_storeu_epi8(to, __mmask16((1u << count) - 1), bytes);
  }
}
/// Undoes interleave_low and interleave_high.
BITCLUSTER_INLINE void store_halves(std::uint8_t* to, Integers low, Integers high, int count) {
  const __m256i bytes = _mm512_cvtepi16_epi8(_mm512_packs_epi32(low, high));
  if (count == 2 * vector_width) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes);
  } else {
    _mm256_mask_storeu_epi8(to, __mmask32((std::uint64_t(1) << count) - 1), bytes);
  }
}

#elif defined(__AVX2__)

constexpr int vector_width = 8;
constexpr int pixel_group = 1;
constexpr int block_groups[2] = {6, 6};  // 6 x 2 sums, 2 vectors of weights, activation, product: 16 registers
using Integers = __m256i;
using Floats = __m256;

BITCLUSTER_INLINE Integers load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
BITCLUSTER_INLINE void store(void* to, Integers a) { _mm256_storeu_si256(static_cast<__m256i*>(to), a); }
BITCLUSTER_INLINE Floats load_floats(const float* from) { return _mm256_loadu_ps(from); }
BITCLUSTER_INLINE Integers broadcast(const char* from) { return _mm256_set1_epi32(load_step(from)); }
BITCLUSTER_INLINE Floats broadcast_float(const char* from) {
  return _mm256_set1_ps(*reinterpret_cast<const float*>(from));
}
BITCLUSTER_INLINE Integers multiply_add_words(Integers sum, Integers a, Integers b) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}
BITCLUSTER_INLINE Floats multiply_add_floats(Floats sum, Floats a, Floats b) { return _mm256_fmadd_ps(a, b, sum); }
BITCLUSTER_INLINE Integers interleave_low(Integers a, Integers b) { return _mm256_unpacklo_epi16(a, b); }
BITCLUSTER_INLINE Integers interleave_high(Integers a, Integers b) { return _mm256_unpackhi_epi16(a, b); }
BITCLUSTER_INLINE Floats to_floats(Integers a) { return _mm256_cvtepi32_ps(a); }
BITCLUSTER_INLINE Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
BITCLUSTER_INLINE Floats clamp(Floats a, OutputRange range) {
  return _mm256_min_ps(_mm256_set1_ps(range.high), _mm256_max_ps(_mm256_set1_ps(range.low), a));
}
BITCLUSTER_INLINE Integers round(Floats a) { return _mm256_cvtps_epi32(a); }
BITCLUSTER_INLINE void store_floats(float* to, Floats a, int count) {
  if (count == vector_width) {
    _mm256_storeu_ps(to, a);
  } else {
    alignas(32) float values[vector_width];
    _mm256_store_ps(values, a);
    for (int i = 0; i < count; ++i) to[i] = values[i];
  }
}
BITCLUSTER_INLINE void store_bytes(std::uint8_t* to, Integers a, int count) {
  const Integers low = _mm256_and_si256(a, _mm256_set1_epi32(255));
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  const __m128i bytes = _mm_packus_epi16(words, words);
  if (count == vector_width) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), bytes);
  } else {
    alignas(16) std::uint8_t values[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(values), bytes);
    for (int i = 0; i < count; ++i) to[i] = values[i];
  }
}
BITCLUSTER_INLINE void store_halves(std::uint8_t* to, Integers low, Integers high, int count) {
  const Integers words = _mm256_and_si256(_mm256_packs_epi32(low, high), _mm256_set1_epi16(255));
  const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  if (count == 2 * vector_width) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
  } else {
    alignas(16) std::uint8_t values[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(values), bytes);
    for (int i = 0; i < count; ++i) to[i] = values[i];
  }
}

#else  // x86-64 as every processor has it

constexpr int vector_width = 4;
constexpr int pixel_group = 1;
constexpr int block_groups[2] = {4, 4};
using Integers = __m128i;
using Floats = __m128;

BITCLUSTER_INLINE Integers load(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
BITCLUSTER_INLINE void store(void* to, Integers a) { _mm_storeu_si128(static_cast<__m128i*>(to), a); }
BITCLUSTER_INLINE Floats load_floats(const float* from) { return _mm_loadu_ps(from); }
BITCLUSTER_INLINE Integers broadcast(const char* from) { return _mm_set1_epi32(load_step(from)); }
BITCLUSTER_INLINE Floats broadcast_float(const char* from) {
  return _mm_set1_ps(*reinterpret_cast<const float*>(from));
}
BITCLUSTER_INLINE Integers multiply_add_words(Integers sum, Integers a, Integers b) {
  return _mm_add_epi32(sum, _mm_madd_epi16(a, b));
}
BITCLUSTER_INLINE Floats multiply_add_floats(Floats sum, Floats a, Floats b) {
  return _mm_add_ps(sum, _mm_mul_ps(a, b));
}
BITCLUSTER_INLINE Integers interleave_low(Integers a, Integers b) { return _mm_unpacklo_epi16(a, b); }
BITCLUSTER_INLINE Integers interleave_high(Integers a, Integers b) { return _mm_unpackhi_epi16(a, b); }
BITCLUSTER_INLINE Floats to_floats(Integers a) { return _mm_cvtepi32_ps(a); }
BITCLUSTER_INLINE Floats multiply(Floats a, Floats b) { return _mm_mul_ps(a, b); }
BITCLUSTER_INLINE Floats clamp(Floats a, OutputRange range) {
  return _mm_min_ps(_mm_set1_ps(range.high), _mm_max_ps(_mm_set1_ps(range.low), a));
}
BITCLUSTER_INLINE Integers round(Floats a) { return _mm_cvtps_epi32(a); }
BITCLUSTER_INLINE void store_floats(float* to, Floats a, int count) {
  alignas(16) float values[vector_width];
  _mm_store_ps(values, a);
  for (int i = 0; i < count; ++i) to[i] = values[i];
}
BITCLUSTER_INLINE void store_bytes(std::uint8_t* to, Integers a, int count) {
  alignas(16) std::int32_t values[vector_width];
  _mm_store_si128(reinterpret_cast<__m128i*>(values), a);
  for (int i = 0; i < count; ++i) to[i] = std::uint8_t(values[i]);
}
BITCLUSTER_INLINE void store_halves(std::uint8_t* to, Integers low, Integers high, int count) {
  alignas(16) std::int16_t values[2 * vector_width];
  _mm_store_si128(reinterpret_cast<__m128i*>(values), _mm_packs_epi32(low, high));
  for (int i = 0; i < count; ++i) to[i] = std::uint8_t(values[i]);
}

#endif

#if !defined(__AVX512VNNI__)
BITCLUSTER_INLINE Integers multiply_add_bytes(Integers sum, Integers, Integers) { return sum; }  // has_bytes is false
#endif

}  // namespace
}  // namespace bitcluster
