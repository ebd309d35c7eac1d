// Matrix products on AMX tiles; tiled_linear.py has the schema and the layout of the weights.
//
// A batch of a few tokens costs what reading the weights costs, if that goes on while tiles are multiplied: each step
// fetches a part of the weights that are wanted next. Every sum runs over the inputs in one order, so that a token's
// outputs are the same to the bit whatever shares its batch.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <immintrin.h>
#include <torch/library.h>

#include <algorithm>
#include <memory>
#include <optional>

namespace {

using at::Tensor;
using c10::BFloat16;

#ifdef __AMX_BF16__

constexpr int64_t SIDE = 16;              // rows of a tile, and outputs
constexpr int64_t DEPTH = 32;             // inputs of a tile
constexpr int64_t TILE = SIDE * DEPTH;    // bfloat16 values of a tile: 1 KiB
constexpr int64_t SUMS = SIDE * SIDE;     // float32 values of one
constexpr int64_t BAND = 2 * SIDE;        // tokens that are multiplied at once
constexpr int64_t PANEL = 2 * SIDE;       // outputs that are
constexpr int64_t CHUNK = 48;             // tiles along the inputs whose activations stay in the second cache
constexpr int64_t KEPT = 64;              // sums of panels and bands, 4 KiB each, that wait for the next chunk
constexpr int64_t LINE = 32;              // bfloat16 values of a cache line

// Tiles 0-3: sums of [upper, lower tokens] x [left, right outputs]. 4, 5: tokens. 6, 7: weights.
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

// Inputs [bands, depth, 2, SIDE, DEPTH], weights [panels, depth, 2, SIDE / 2, SIDE, 2], outputs [tokens, outputs].
struct Product {
  int64_t tokens, num_outputs, depth;
  const BFloat16 *inputs, *weights;
  const BFloat16* bias;
  BFloat16* outputs;

  int64_t bands() const { return (tokens + BAND - 1) / BAND; }
  int64_t panels() const { return (num_outputs + PANEL - 1) / PANEL; }
  const BFloat16* inputs_at(int64_t band, int64_t step) const { return inputs + (band * depth + step) * 2 * TILE; }
  const BFloat16* weights_at(int64_t panel, int64_t step) const { return weights + (panel * depth + step) * 2 * TILE; }
};

// The inputs' tiles, side by side. Rows beyond the last token are not written, and what comes of them is not kept.
Tensor tiles_of(const Tensor& inputs, int64_t depth) {
  const int64_t tokens = inputs.size(0), width = inputs.size(1);
  const Tensor tiles = at::empty({(tokens + BAND - 1) / BAND, depth, 2, SIDE, DEPTH}, inputs.options());
  at::parallel_for(0, tokens, SIDE, [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const auto* from = inputs.const_data_ptr<BFloat16>() + token * width;
      auto* to = tiles.mutable_data_ptr<BFloat16>() + token / BAND * depth * 2 * TILE;
      to += token % BAND * DEPTH;
      for (int64_t first = 0; first < width; first += DEPTH, to += 2 * TILE) {
        const __mmask32 there = width - first < DEPTH ? (1u << (width - first)) - 1 : ~0u;
        _mm512_storeu_epi16(to, _mm512_maskz_loadu_epi16(there, from + first));
      }
    }
  });
  return tiles;
}

void zero_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

void load_sums(const float* sums) {
  _tile_loadd(0, sums, 64);
  _tile_loadd(1, sums + SUMS, 64);
  _tile_loadd(2, sums + 2 * SUMS, 64);
  _tile_loadd(3, sums + 3 * SUMS, 64);
}

void store_sums(float* sums) {
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + SUMS, 64);
  _tile_stored(2, sums + 2 * SUMS, 64);
  _tile_stored(3, sums + 3 * SUMS, 64);
}

// Adds `steps` tiles' products to `sums`, or begins with them. `lines` cache lines of `next` are fetched a step.
// With `lower` tokens or without: what a tile of one unused row costs is a fifth of a step.
void multiply(const BFloat16* inputs, const BFloat16* weights, int64_t steps, const BFloat16* next, int64_t lines,
              float* sums, bool begins, bool lower) {
  begins ? zero_sums() : load_sums(sums);
  for (int64_t step = 0; step < steps; ++step, inputs += 2 * TILE, weights += 2 * TILE) {
    for (int64_t line = 0; line < lines; ++line, next += LINE) _mm_prefetch(next, _MM_HINT_T1);
    _tile_loadd(6, weights, 64);
    _tile_loadd(7, weights + TILE, 64);
    _tile_loadd(4, inputs, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (!lower) continue;
    _tile_loadd(5, inputs + TILE, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  store_sums(sums);
}

// One tile of sums, which begins at `token` and `output`.
void write_tile(const Product& product, const float* sums, int64_t token, int64_t output) {
  const int64_t rows = std::min(SIDE, product.tokens - token), columns = std::min(SIDE, product.num_outputs - output);
  if (rows <= 0 || columns <= 0) return;
  const __mmask16 there = static_cast<__mmask16>((1u << columns) - 1);
  __m512 bias = _mm512_setzero_ps();
  if (product.bias)
    bias = _mm512_cvtpbh_ps((__m256bh)_mm256_maskz_loadu_epi16(there, product.bias + output));
  auto* to = product.outputs + token * product.num_outputs + output;
  for (int64_t row = 0; row < rows; ++row, to += product.num_outputs) {
    const __m512 exact = _mm512_add_ps(_mm512_loadu_ps(sums + row * SIDE), bias);
    _mm256_mask_storeu_epi16(to, there, (__m256i)_mm512_cvtneps_pbh(exact));
  }
}

void write(const Product& product, const float* sums, int64_t band, int64_t panel) {
  for (int64_t tile = 0; tile < 4; ++tile)
    write_tile(product, sums + tile * SUMS, band * BAND + tile / 2 * SIDE, panel * PANEL + tile % 2 * SIDE);
}

// Panels [begin, end), a chunk of the inputs at a time. `sums`: 4 * SUMS floats for each of their panels and bands
// where there are more chunks than one, for else nothing waits.
void multiply_panels(const Product& product, int64_t begin, int64_t end, Configured& tiles, float* sums) {
  const int64_t bands = product.bands(), lines = (2 * TILE / LINE + bands - 1) / bands;
  for (int64_t first = 0; first < product.depth; first += CHUNK) {
    const int64_t steps = std::min(CHUNK, product.depth - first);
    for (int64_t panel = begin; panel < end; ++panel) {
      const auto* next = panel + 1 < end                  ? product.weights_at(panel + 1, first)
                         : first + steps < product.depth ? product.weights_at(begin, first + steps)
                                                         : product.weights_at(end, 0);
      for (int64_t band = 0; band < bands; ++band, next += lines * LINE * steps) {
        const int64_t tokens = std::min(BAND, product.tokens - band * BAND);
        float* own = product.depth > CHUNK ? sums + ((panel - begin) * bands + band) * 4 * SUMS : sums;
        tiles.for_tokens(tokens);
        multiply(product.inputs_at(band, first), product.weights_at(panel, first), steps, next, lines, own, first == 0,
                 tokens > SIDE);
        if (first + steps == product.depth) write(product, own, band, panel);
      }
    }
  }
}

Tensor tiled_linear(const Tensor& inputs, const Tensor& weights, const std::optional<Tensor>& bias,
                    int64_t num_outputs) {
  TORCH_CHECK(inputs.scalar_type() == at::kBFloat16, "tiled_linear: bfloat16 only");
  const Tensor outputs = at::empty({inputs.size(0), num_outputs}, inputs.options());
  const Tensor tiles = tiles_of(inputs.contiguous(), weights.size(1));
  const Product product{inputs.size(0),
                        num_outputs,
                        weights.size(1),
                        tiles.const_data_ptr<BFloat16>(),
                        weights.const_data_ptr<BFloat16>(),
                        bias ? bias->const_data_ptr<BFloat16>() : nullptr,
                        outputs.mutable_data_ptr<BFloat16>()};
  const int64_t group = std::max<int64_t>(1, KEPT / product.bands());  // of panels
  at::parallel_for(0, product.panels(), 1, [&](int64_t begin, int64_t end) {
    Configured configured;
    const auto sums = std::make_unique_for_overwrite<float[]>(group * product.bands() * 4 * SUMS);
    for (int64_t first = begin; first < end; first += group)
      multiply_panels(product, first, std::min(first + group, end), configured, sums.get());
  });
  return outputs;
}

#else

Tensor tiled_linear(const Tensor&, const Tensor&, const std::optional<Tensor>&, int64_t) {
  TORCH_CHECK(false, "tiled_linear: built without AMX");
}

#endif

}  // namespace

TORCH_LIBRARY_IMPL(cospec, CPU, library) { library.impl("tiled_linear", &tiled_linear); }
