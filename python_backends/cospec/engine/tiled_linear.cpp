// Matrix products in tiles, of bfloat16 or of int8; tiled_linear.py has the schema and the layout of the weights.
//
// A batch of a few tokens costs what reading the weights costs, if that goes on while tiles are multiplied: each step
// fetches a part of the weights that are wanted next. Every sum runs over the inputs in one order, so that a token's
// outputs are the same to the bit whatever shares its batch.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "tile_products.h"

namespace {

using at::Tensor;
using c10::BFloat16;

#if defined(COSPEC_AMX) || defined(COSPEC_AVX512)

using namespace cospec;

constexpr int64_t BAND = 2 * SIDE;        // tokens that are multiplied at once
constexpr int64_t PANEL = 2 * SIDE;       // outputs that are
constexpr int64_t CHUNK = 48;             // tiles along the inputs whose activations stay in the second cache
constexpr int64_t KEPT = 64;              // sums of panels and bands, 4 KiB each, that wait for the next chunk
constexpr float LARGEST = 127;            // of int8
constexpr float SMALLEST = 1e-30;         // peak of a token's inputs that is told from zero

// Inputs [bands, depth, 2, SIDE, LINE] and weights [panels, depth, 2, SIDE, LINE] in bytes, outputs [tokens, outputs].
struct Product {
  int64_t tokens, num_outputs, depth;
  const char *inputs, *weights;
  const float *token_scales, *output_scales;  // of int8
  const BFloat16* bias;
  BFloat16* outputs;

  int64_t bands() const { return (tokens + BAND - 1) / BAND; }
  int64_t panels() const { return (num_outputs + PANEL - 1) / PANEL; }
  const char* inputs_at(int64_t band, int64_t step) const { return inputs + (band * depth + step) * 2 * TILE; }
  const char* weights_at(int64_t panel, int64_t step) const { return weights + (panel * depth + step) * 2 * TILE; }
};

__m512 floats(const BFloat16* values, __mmask16 there) {
  return _mm512_cvtpbh_ps((__m256bh)_mm256_maskz_loadu_epi16(there, values));
}

// The first `count` of 16, or all.
__mmask16 lanes(int64_t count) { return count < 16 ? (1u << count) - 1 : 0xFFFF; }

// As they are. Of the last line, what is beyond `width` is zero; `to` goes on two tiles a line.
void write_inputs(const BFloat16* from, int64_t width, char* to) {
  for (int64_t done = 0; done < width; done += 32, to += 2 * TILE) {
    const __mmask32 there = width - done < 32 ? (1u << (width - done)) - 1 : ~0u;
    _mm512_storeu_epi16(to, _mm512_maskz_loadu_epi16(there, from + done));
  }
}

// Rounded to int8; the scale gives them back.
float write_rounded_inputs(const BFloat16* from, int64_t width, char* to) {
  __m512 peaks = _mm512_setzero_ps();
  for (int64_t done = 0; done < width; done += 16)
    peaks = _mm512_max_ps(peaks, _mm512_abs_ps(floats(from + done, lanes(width - done))));
  const float peak = std::max(_mm512_reduce_max_ps(peaks), SMALLEST);
  const __m512 factor = _mm512_set1_ps(LARGEST / peak);
  for (int64_t done = 0; done < width; done += LINE, to += 2 * TILE)
    for (int64_t part = 0; part < LINE; part += 16) {
      const __mmask16 there = lanes(std::max<int64_t>(0, width - done - part));
      const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(floats(from + done + part, there), factor));
      const __m128i bytes = _mm_xor_si128(_mm512_cvtsepi32_epi8(rounded), _mm_set1_epi8(SIGN));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + part), bytes);
    }
  return peak / LARGEST;
}

// The inputs' tiles, side by side, and the tokens' scales where they are rounded to int8. Rows beyond the last token are
// not written, and what comes of them is not kept.
Tensor tiles_of(const Tensor& inputs, int64_t depth, float* scales) {
  const int64_t tokens = inputs.size(0), width = inputs.size(1);
  const Tensor tiles = at::empty({(tokens + BAND - 1) / BAND, depth, 2, TILE}, inputs.options().dtype(at::kChar));
  at::parallel_for(0, tokens, SIDE, [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const auto* from = inputs.const_data_ptr<BFloat16>() + token * width;
      char* to = static_cast<char*>(tiles.mutable_data_ptr()) + token / BAND * depth * 2 * TILE + token % BAND * LINE;
      if (scales)
        scales[token] = write_rounded_inputs(from, width, to);
      else
        write_inputs(from, width, to);
    }
  });
  return tiles;
}

// Sums of 16 outputs of a token, as they are or scaled back.
__m512 outputs_of(const Product& product, const char* sums, int64_t token, int64_t output, __mmask16 there) {
  if (!product.token_scales) return _mm512_loadu_ps(sums);
  const __m512 scales = _mm512_maskz_loadu_ps(there, product.output_scales + output);
  const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(product.token_scales[token]), scales);
  return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sums)), scale);
}

// One tile of sums, which begins at `token` and `output`.
void write_tile(const Product& product, const char* sums, int64_t token, int64_t output) {
  const int64_t rows = std::min(SIDE, product.tokens - token), columns = product.num_outputs - output;
  if (rows <= 0 || columns <= 0) return;
  const __mmask16 there = lanes(columns);
  const __m512 bias = product.bias ? floats(product.bias + output, there) : _mm512_setzero_ps();
  auto* to = product.outputs + token * product.num_outputs + output;
  for (int64_t row = 0; row < rows; ++row, to += product.num_outputs) {
    const __m512 exact = _mm512_add_ps(outputs_of(product, sums + row * LINE, token + row, output, there), bias);
    _mm256_mask_storeu_epi16(to, there, (__m256i)_mm512_cvtneps_pbh(exact));
  }
}

void write(const Product& product, const char* sums, int64_t band, int64_t panel) {
  for (int64_t tile = 0; tile < 4; ++tile)
    write_tile(product, sums + tile * TILE, band * BAND + tile / 2 * SIDE, panel * PANEL + tile % 2 * SIDE);
}

// Panels [begin, end), a chunk of the inputs at a time. `sums`: 4 * TILE bytes for each of their panels and bands
// where there are more chunks than one, for else nothing waits.
template <bool rounded>
void multiply_panels(const Product& product, int64_t begin, int64_t end, Configured& tiles, char* sums) {
  const int64_t bands = product.bands(), lines = (2 * SIDE + bands - 1) / bands;
  for (int64_t first = 0; first < product.depth; first += CHUNK) {
    const int64_t steps = std::min(CHUNK, product.depth - first);
    for (int64_t panel = begin; panel < end; ++panel) {
      const auto* next = panel + 1 < end                  ? product.weights_at(panel + 1, first)
                         : first + steps < product.depth ? product.weights_at(begin, first + steps)
                                                         : product.weights_at(end, 0);
      for (int64_t band = 0; band < bands; ++band, next += lines * LINE * steps) {
        const int64_t tokens = std::min(BAND, product.tokens - band * BAND);
        char* own = product.depth > CHUNK ? sums + ((panel - begin) * bands + band) * 4 * TILE : sums;
        tiles.for_tokens(tokens);
        multiply<rounded>(product.inputs_at(band, first), product.weights_at(panel, first), steps, next, lines, own,
                          first == 0, tokens);
        if (first + steps == product.depth) write(product, own, band, panel);
      }
    }
  }
}

template <bool rounded>
void multiply_all(const Product& product) {
  const int64_t group = std::max<int64_t>(1, KEPT / product.bands());  // of panels
  const int64_t waiting = product.depth > CHUNK ? group * product.bands() : 1;
  at::parallel_for(0, product.panels(), 1, [&](int64_t begin, int64_t end) {
    Configured configured;
    const auto sums = std::make_unique_for_overwrite<char[]>(waiting * 4 * TILE);
    for (int64_t first = begin; first < end; first += group)
      multiply_panels<rounded>(product, first, std::min(first + group, end), configured, sums.get());
  });
}

Tensor tiled_linear(const Tensor& inputs, const Tensor& weights, const std::optional<Tensor>& scales,
                    const std::optional<Tensor>& bias, int64_t num_outputs) {
  TORCH_CHECK(inputs.scalar_type() == at::kBFloat16, "tiled_linear: inputs in bfloat16 only");
  const int64_t tokens = inputs.size(0), depth = weights.size(1);
  const Tensor outputs = at::empty({tokens, num_outputs}, inputs.options());
  const auto token_scales = std::make_unique_for_overwrite<float[]>(scales ? tokens : 0);
  const Tensor tiles = tiles_of(inputs.contiguous(), depth, scales ? token_scales.get() : nullptr);
  const Product product{tokens,
                        num_outputs,
                        depth,
                        static_cast<const char*>(tiles.const_data_ptr()),
                        static_cast<const char*>(weights.const_data_ptr()),
                        scales ? token_scales.get() : nullptr,
                        scales ? scales->const_data_ptr<float>() : nullptr,
                        bias ? bias->const_data_ptr<BFloat16>() : nullptr,
                        outputs.mutable_data_ptr<BFloat16>()};
  scales ? multiply_all<true>(product) : multiply_all<false>(product);
  return outputs;
}

#else

Tensor tiled_linear(const Tensor&, const Tensor&, const std::optional<Tensor>&, const std::optional<Tensor>&, int64_t) {
  TORCH_CHECK(false, "tiled_linear: built without AMX or AVX-512 for bfloat16");
}

#endif

}  // namespace

TORCH_LIBRARY_IMPL(cospec, CPU, library) { library.impl("tiled_linear", &tiled_linear); }
