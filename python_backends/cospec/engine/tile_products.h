// What `multiply` adds up, by AMX or by AVX-512's instructions for bfloat16 and int8: products of a step's two tiles of
// tokens and two of weights. Every sum runs over the inputs in one order, however many tokens there are.

#pragma once

#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "tiles.h"

namespace cospec {

#if defined(COSPEC_AMX)

constexpr char SIGN = 0;  // int8 inputs are as they are

inline void zero_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

inline void load_sums(const char* sums) {
  _tile_loadd(0, sums, 64);
  _tile_loadd(1, sums + TILE, 64);
  _tile_loadd(2, sums + 2 * TILE, 64);
  _tile_loadd(3, sums + 3 * TILE, 64);
}

inline void store_sums(char* sums) {
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + TILE, 64);
  _tile_stored(2, sums + 2 * TILE, 64);
  _tile_stored(3, sums + 3 * TILE, 64);
}

// A macro, since the numbers of tiles are part of the instruction.
#define MULTIPLY_TILES(sums, inputs, weights)   \
  do {                                          \
    if constexpr (rounded)                      \
      _tile_dpbssd(sums, inputs, weights);      \
    else                                        \
      _tile_dpbf16ps(sums, inputs, weights);    \
  } while (false)

// Adds `steps` tiles' products to `sums`, or begins with them. `lines` cache lines of `next` are fetched a step.
// Without lower tokens their tiles are left alone: even of one unused row they would make it a fifth slower.
template <bool rounded>
void multiply(const char* inputs, const char* weights, int64_t steps, const char* next, int64_t lines, char* sums,
              bool begins, int64_t tokens) {
  begins ? zero_sums() : load_sums(sums);
  for (int64_t step = 0; step < steps; ++step, inputs += 2 * TILE, weights += 2 * TILE) {
    for (int64_t line = 0; line < lines; ++line, next += LINE) _mm_prefetch(next, _MM_HINT_T1);
    _tile_loadd(6, weights, 64);
    _tile_loadd(7, weights + TILE, 64);
    _tile_loadd(4, inputs, 64);
    MULTIPLY_TILES(0, 4, 6);
    MULTIPLY_TILES(1, 4, 7);
    if (tokens <= SIDE) continue;
    _tile_loadd(5, inputs + TILE, 64);
    MULTIPLY_TILES(2, 5, 6);
    MULTIPLY_TILES(3, 5, 7);
  }
  store_sums(sums);
}

#undef MULTIPLY_TILES

#elif defined(COSPEC_AVX512)

constexpr char SIGN = -128;  // its int8 products want one side unsigned: inputs are 128 more than they are
constexpr int64_t FEW = 12;  // tokens whose sums registers have room for

inline __m512 add_products(__m512 sums, __m512i inputs, __m512i weights) {
  return _mm512_dpbf16_ps(sums, (__m512bh)inputs, (__m512bh)weights);
}

inline __m512i add_products(__m512i sums, __m512i inputs, __m512i weights) {
  return _mm512_dpbusd_epi32(sums, inputs, weights);
}

// Of 16 outputs of a token, in memory as in a tile.
template <typename Sums>
Sums load_sums(const char* sums, bool begins) {
  Sums loaded{};
  if (!begins) std::memcpy(&loaded, sums, LINE);
  return loaded;
}

template <typename Sums>
void store_sums(char* to, Sums sums, Sums excess) {
  if constexpr (std::is_same_v<Sums, __m512i>) sums = _mm512_sub_epi32(sums, excess);
  std::memcpy(to, &sums, LINE);
}

// `multiply` of the band's tokens [first, first + COUNT). Fetches are spread over a step, since weights that are wanted
// now would wait behind a burst of them.
template <bool rounded, int64_t COUNT>
void multiply_few(const char* inputs, const char* weights, int64_t steps, const char* next, int64_t lines, char* sums,
                  bool begins, int64_t first) {
  using Sums = std::conditional_t<rounded, __m512i, __m512>;
  const auto place = [&](int64_t token) {
    return sums + (first + token) / SIDE * 2 * TILE + (first + token) % SIDE * LINE;
  };
  Sums left[COUNT], right[COUNT], left_excess{}, right_excess{};
  for (int64_t token = 0; token < COUNT; ++token) {
    left[token] = load_sums<Sums>(place(token), begins);
    right[token] = load_sums<Sums>(place(token) + TILE, begins);
  }
  const char* words = inputs + first * LINE;  // a band's tiles stand one below the other
  for (int64_t step = 0; step < steps; ++step, words += 2 * TILE, weights += 2 * TILE) {
    for (int64_t word = 0; word < SIDE; ++word) {
      for (int64_t line = word * lines / SIDE; line < (word + 1) * lines / SIDE; ++line, next += LINE)
        _mm_prefetch(next, _MM_HINT_T1);
      const __m512i left_weights = _mm512_loadu_si512(weights + word * LINE);
      const __m512i right_weights = _mm512_loadu_si512(weights + TILE + word * LINE);
#pragma GCC unroll 12
      for (int64_t token = 0; token < COUNT; ++token) {
        const __m512i input = _mm512_set1_epi32(*reinterpret_cast<const int*>(words + token * LINE + word * 4));
        left[token] = add_products(left[token], input, left_weights);
        right[token] = add_products(right[token], input, right_weights);
      }
      if constexpr (rounded) {
        left_excess = add_products(left_excess, _mm512_set1_epi8(SIGN), left_weights);
        right_excess = add_products(right_excess, _mm512_set1_epi8(SIGN), right_weights);
      }
    }
  }
  for (int64_t token = 0; token < COUNT; ++token) {
    store_sums(place(token), left[token], left_excess);
    store_sums(place(token) + TILE, right[token], right_excess);
  }
}

template <bool rounded>
constexpr auto OF_FEW = []<int64_t... counts>(std::integer_sequence<int64_t, counts...>) {
  return std::array{&multiply_few<rounded, counts + 1>...};
}(std::make_integer_sequence<int64_t, FEW>());

// Adds `steps` tiles' products to `sums`, or begins with them. `lines` cache lines of `next` are fetched a step.
template <bool rounded>
void multiply(const char* inputs, const char* weights, int64_t steps, const char* next, int64_t lines, char* sums,
              bool begins, int64_t tokens) {
  const int64_t parts = (tokens + FEW - 1) / FEW, share = (lines + parts - 1) / parts;
  for (int64_t part = 0; part < parts; ++part, next += share * LINE * steps) {
    const int64_t first = tokens * part / parts, end = tokens * (part + 1) / parts;
    OF_FEW<rounded>[end - first - 1](inputs, weights, steps, next, share, sums, begins, first);
  }
}

#endif

}  // namespace cospec
