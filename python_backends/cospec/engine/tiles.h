// AMX's tiles, as the operators share them: what they hold, and the configuration of a thread.

#pragma once

#if defined(COSPEC_AMX)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace cospec {

constexpr int64_t SIDE = 16;           // rows of a tile, and its columns of 4 bytes
constexpr int64_t LINE = 64;           // bytes of a row, and of a cache line
constexpr int64_t TILE = SIDE * LINE;  // bytes of a tile

#if defined(COSPEC_AMX)

// Tiles 0-3: sums of [upper, lower tokens] x [left, right outputs]. 4, 5: tokens, or keys. 6, 7: weights, or queries.
struct alignas(64) Configuration {
  uint8_t palette = 1, first_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {};

  Configuration() = default;
  explicit Configuration(int64_t tokens) {
    const auto upper = static_cast<uint8_t>(std::min(tokens, SIDE));
    const auto lower = static_cast<uint8_t>(std::clamp<int64_t>(tokens - SIDE, 1, SIDE));
    const uint8_t of_tiles[] = {upper, upper, lower, lower, upper, lower, SIDE, SIDE};
    std::copy(std::begin(of_tiles), std::end(of_tiles), rows);
  }
};

// What oneDNN had configured for this thread is put back: it remembers, and does not look.
struct Configured {
  Configuration before;
  int64_t tokens = 0;

  Configured() { _tile_storeconfig(&before); }
  ~Configured() { _tile_loadconfig(&before); }

  void for_tokens(int64_t wanted) {
    if (wanted == tokens) return;
    const Configuration configuration(wanted);
    _tile_loadconfig(&configuration);
    tokens = wanted;
  }
};

#else

struct Configured {
  void for_tokens(int64_t) {}
};

#endif

}  // namespace cospec
