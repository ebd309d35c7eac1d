// Scores whose maximum is a sample, in one pass a row; perturb.py has the schema, and the same in PyTorch's operators.
//
// Those write a dozen tensors of 8 bytes a vocabulary entry for the noise, and sort all of the vocabulary for top-p.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

namespace {

using at::Tensor;
using Floats = at::vec::Vectorized<float>;
using Doubles = at::vec::Vectorized<double>;

constexpr int64_t TILE = 256;  // entries whose noise is made at once
constexpr float NEVER = -std::numeric_limits<float>::infinity();

// What one choice is made by.
struct Rule {
  float temperature;
  int64_t top_k;  // at most the vocabulary, which is all
  float top_p;
  uint64_t seed;
  int64_t position;
};

// Entries above `lowest` are in, and the first `ties` of those equal to it.
struct Support {
  float lowest;
  int64_t ties;
};

// noise.py says why.
inline uint32_t mixed(uint32_t value) {
  value ^= value >> 16;
  value *= 0x2C1B3C6Du;
  value ^= value >> 12;
  value *= 0x297A2D39u;
  return value ^ (value >> 15);
}

// Uniform in (0, 1), of entries [first, first + TILE).
void hash(const Rule& rule, int64_t first, double* uniform) {
  const uint32_t low = static_cast<uint32_t>(rule.seed), high = static_cast<uint32_t>(rule.seed >> 32);
  const uint32_t key = mixed(mixed(mixed(low) ^ high) ^ static_cast<uint32_t>(rule.position));
  const uint32_t second = mixed(key ^ 0x5BD1E995u);
  for (int64_t entry = 0; entry < TILE; ++entry)
    uniform[entry] = (mixed(mixed(static_cast<uint32_t>(first + entry) ^ key) ^ second) + 0.5) * 0x1p-32;
}

void add_noise(const Rule& rule, float* scores, int64_t vocab) {
  double noise[TILE];
  for (int64_t first = 0; first < vocab; first += TILE) {
    hash(rule, first, noise);
    for (int64_t entry = 0; entry < TILE; entry += Doubles::size())
      Doubles::loadu(noise + entry).log().neg().log().neg().store(noise + entry);
    for (int64_t entry = 0; entry < std::min(TILE, vocab - first); ++entry)
      scores[first + entry] += static_cast<float>(noise[entry]);
  }
}

double total_weight(const float* scores, int64_t count, float peak) {
  const auto weigh = [peak](const Floats& values) { return (values - Floats(peak)).exp(); };
  const auto add = [](const Floats& a, const Floats& b) { return a + b; };
  return at::vec::map_reduce_all<float>(weigh, add, scores, count);
}

// The highest `count`, in any order.
void take_highest(const float* scores, int64_t vocab, int64_t count, std::vector<float>& highest) {
  highest.assign(scores, scores + vocab);
  std::nth_element(highest.begin(), highest.begin() + count - 1, highest.end(), std::greater<>());
  highest.resize(count);
}

// All that may be needed to reach a share of `top_p`: what is lighter than this could not, all together, fill the rest.
void take_heavy(const float* scores, int64_t vocab, float least, std::vector<float>& heavy) {
  heavy.clear();
  std::copy_if(scores, scores + vocab, std::back_inserter(heavy), [least](float score) { return score >= least; });
}

// Of the descending `highest`, those before which less than `share` has been reached; the first always.
void keep_share(double share, float peak, std::vector<float>& highest) {
  double reached = 0;
  size_t kept = 0;
  while (kept < highest.size() && (kept == 0 || reached < share)) reached += std::exp(highest[kept++] - peak);
  highest.resize(kept);
}

Support support_of(const Rule& rule, const float* scores, int64_t vocab, std::vector<float>& highest) {
  const bool limited = rule.top_k < vocab;
  const float peak = *std::max_element(scores, scores + vocab);
  if (!std::isfinite(peak)) return {NEVER, vocab};
  if (limited) take_highest(scores, vocab, rule.top_k, highest);
  if (rule.top_p < 1) {
    const double total = limited ? total_weight(highest.data(), rule.top_k, peak) : total_weight(scores, vocab, peak);
    if (!limited) take_heavy(scores, vocab, peak + std::log((1 - rule.top_p) * total / vocab), highest);
    std::sort(highest.begin(), highest.end(), std::greater<>());
    keep_share(rule.top_p * total, peak, highest);
  }
  const float lowest = *std::min_element(highest.begin(), highest.end());
  return {lowest, std::count(highest.begin(), highest.end(), lowest)};
}

void restrict_to(Support support, float* scores, int64_t vocab) {
  for (int64_t entry = 0; entry < vocab; ++entry)
    if (scores[entry] < support.lowest || (scores[entry] == support.lowest && support.ties-- <= 0))
      scores[entry] = NEVER;
}

void perturb_row(const Rule& rule, const float* logits, float* scores, int64_t vocab, std::vector<float>& scratch) {
  if (rule.temperature == 0) {
    std::copy(logits, logits + vocab, scores);
    return;
  }
  for (int64_t entry = 0; entry < vocab; ++entry) {
    const float scaled = logits[entry] / rule.temperature;
    scores[entry] = scaled == scaled ? scaled : NEVER;  // what is not a number has no place in an order
  }
  if (rule.top_k < vocab || rule.top_p < 1) restrict_to(support_of(rule, scores, vocab, scratch), scores, vocab);
  add_noise(rule, scores, vocab);
}

template <typename value>
value at_row(const std::optional<Tensor>& values, int64_t row, value otherwise) {
  return values ? values->const_data_ptr<value>()[row] : otherwise;
}

Tensor perturb(const Tensor& logits, const Tensor& temperature, const std::optional<Tensor>& top_k,
               const std::optional<Tensor>& top_p, const Tensor& seeds, const Tensor& positions) {
  const Tensor given = logits.contiguous(), places = positions.contiguous();
  const int64_t rows = given.size(0), vocab = given.size(1);
  const Tensor scores = at::empty_like(given);
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t limit = at_row<int64_t>(top_k, row, 0);
      const Rule rule{at_row<float>(temperature, row, 0),
                      limit > 0 ? std::min(limit, vocab) : vocab,
                      at_row<float>(top_p, row, 1),
                      static_cast<uint64_t>(at_row<int64_t>(seeds, row, 0)),
                      at_row<int64_t>(places, row, 0)};
      perturb_row(rule, given.const_data_ptr<float>() + row * vocab, scores.mutable_data_ptr<float>() + row * vocab,
                  vocab, scratch);
    }
  });
  return scores;
}

}  // namespace

TORCH_LIBRARY_IMPL(cospec, CPU, library) { library.impl("perturb", &perturb); }
