// Attention of rows of unequal length over the slots of a static KV cache; ragged_attention.py has the schema.
//
// PyTorch's own wants rows of one length whose entries lie side by side: padding every row to the longest, and copying
// the cache, cost several times what attention itself does. Here every row is read where it lies, as far as it goes,
// and summed in float32 in one order, so that a token's attention is the same whatever shares its batch.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "tiles.h"

namespace {

using namespace cospec;

using at::Tensor;
using Floats = at::vec::Vectorized<float>;

constexpr int64_t LANES = Floats::size();
constexpr int64_t PASS = SIDE;    // query vectors that share a row's entries while these are at hand
constexpr int64_t FEW = 4;        // ... that registers have room for
constexpr int64_t AHEAD = 16;     // entries: entries of one head lie too far apart for the processor to foresee
constexpr int64_t WIDE = 128;     // tokens of a row from which matrix products, PyTorch's own, are faster
constexpr float UNSEEN = -1e30f;

// Tokens [first, first + count) of the block, which see entries [0, end) of their slot at most.
struct Row {
  int64_t slot, start, first, count, end;
};

// One KV head and at most PASS of the query vectors that read it.
struct Task {
  int64_t row, head, first, count;
};

// One query vector: where it is, where its result goes, which of the entries from the row's start on it sees, and the
// lowest entry that it sees at all.
template <typename scalar>
struct Query {
  const scalar* from;
  scalar* to;
  const bool* seen;
  int64_t lowest;
};

// Keys or values of one head of a slot.
template <typename scalar>
struct Entries {
  const scalar* base;
  int64_t stride;

  const scalar* operator[](int64_t index) const { return base + index * stride; }
};

inline Floats load(const float* from) { return Floats::loadu(from); }

inline Floats load(const c10::BFloat16* from) {
  Floats exact;
  at::vec::load_fp32_from_bf16(from, exact);
  return exact;
}

inline Floats load(const c10::Half* from) {
  Floats exact;
  at::vec::load_fp32_from_fp16(from, exact);
  return exact;
}

inline float total(const Floats& values) {
  return at::vec::vec_reduce_all<float>([](const Floats& a, const Floats& b) { return a + b; }, values);
}

inline float greatest(const Floats& values) {
  const auto greater = [](const Floats& a, const Floats& b) { return at::vec::maximum(a, b); };
  return at::vec::vec_reduce_all<float>(greater, values);
}

inline float scale_of(int64_t dim) { return 1.0f / std::sqrt(static_cast<float>(dim)); }

// Calls `run` with the first of every FEW of `count` query vectors, and with how many to work on, which the compiler
// is to know: of an odd few the last ones are not wanted.
template <typename Run>
void by_few(int64_t count, const Run& run) {
  for (int64_t first = 0; first < count; first += FEW) {
    if (count - first == 1)
      run(first, std::integral_constant<int64_t, 1>());
    else if (count - first == 2)
      run(first, std::integral_constant<int64_t, 2>());
    else
      run(first, std::integral_constant<int64_t, FEW>());
  }
}

template <typename scalar, int64_t PARTS>
inline void load_entry(const Entries<scalar>& entries, int64_t index, Floats (&parts)[PARTS]) {
  const auto* ahead = reinterpret_cast<const char*>(entries[index + AHEAD]);
  for (int64_t byte = 0; byte < PARTS * LANES * static_cast<int64_t>(sizeof(scalar)); byte += LINE)
    __builtin_prefetch(ahead + byte);
  for (int64_t part = 0; part < PARTS; ++part) parts[part] = load(entries[index] + part * LANES);
}

// scores[q][entry] = scaled query q · key
template <typename scalar, int64_t PARTS, int64_t QUERIES>
void score_few(const Query<scalar>* queries, const Entries<scalar>& keys, int64_t end, float* scores, int64_t room) {
  constexpr int64_t DIM = PARTS * LANES;
  float scaled[QUERIES][DIM];
  for (int64_t q = 0; q < QUERIES; ++q)
    for (int64_t d = 0; d < DIM; ++d) scaled[q][d] = static_cast<float>(queries[q].from[d]) * scale_of(DIM);
  for (int64_t entry = 0; entry < end; ++entry) {
    Floats key[PARTS];
    load_entry(keys, entry, key);
    for (int64_t q = 0; q < QUERIES; ++q) {
      Floats products = load(scaled[q]) * key[0];
      for (int64_t part = 1; part < PARTS; ++part)
        products = at::vec::fmadd(load(scaled[q] + part * LANES), key[part], products);
      scores[q * room + entry] = total(products);
    }
  }
}

template <int64_t DIM, typename scalar>
void score(const Query<scalar>* queries, int64_t count, const Entries<scalar>& keys, int64_t end, float* scores,
           int64_t room) {
  by_few(count, [&](int64_t first, auto few) {
    score_few<scalar, DIM / LANES, few()>(queries + first, keys, end, scores + first * room, room);
  });
}

#if defined(COSPEC_AMX)

constexpr int64_t WIDTH = 32;  // dimensions of a head that a tile holds

// The first `count` query vectors as tiles hold them: [parts, pairs of dimensions, query vectors].
template <int64_t DIM>
void pack(const Query<c10::BFloat16>* queries, int64_t count, uint32_t (&packed)[DIM / WIDTH][SIDE][PASS]) {
  for (int64_t q = 0; q < count; ++q) {
    uint32_t pairs[DIM / 2];
    std::memcpy(pairs, queries[q].from, sizeof(pairs));
    for (int64_t pair = 0; pair < DIM / 2; ++pair) packed[pair / SIDE][pair % SIDE][q] = pairs[pair];
  }
}

// The same by tiles: SIDE keys and PASS query vectors at a time. A score is summed alike however many are wanted.
template <int64_t DIM>
void score(const Query<c10::BFloat16>* queries, int64_t count, const Entries<c10::BFloat16>& keys, int64_t end,
           float* scores, int64_t room) {
  alignas(LINE) uint32_t packed[DIM / WIDTH][SIDE][PASS];
  alignas(LINE) c10::BFloat16 last[SIDE][DIM];
  alignas(LINE) float products[SIDE][PASS];
  pack<DIM>(queries, count, packed);
  const __m512i column =  // of `products`, in floats
      _mm512_setr_epi32(0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240);
  for (int64_t first = 0; first < end; first += SIDE) {
    Entries<c10::BFloat16> block{keys[first], keys.stride};
    if (end - first < SIDE) {  // behind the last key the memory may be somebody else's
      for (int64_t entry = first; entry < end; ++entry) std::memcpy(last[entry - first], keys[entry], sizeof(last[0]));
      block = {last[0], DIM};
    }
    for (int64_t entry = 0; entry < SIDE; ++entry)
      for (int64_t dim = 0; dim < DIM; dim += WIDTH) __builtin_prefetch(block[entry + SIDE] + dim);
    _tile_zero(0);
    for (int64_t part = 0; part < DIM / WIDTH; ++part) {
      _tile_loadd(4, block.base + part * WIDTH, block.stride * sizeof(c10::BFloat16));
      _tile_loadd(6, packed[part], LINE);
      _tile_dpbf16ps(0, 4, 6);
    }
    _tile_stored(0, products, LINE);
    for (int64_t q = 0; q < count; ++q)
      _mm512_storeu_ps(scores + q * room + first,
                       _mm512_mul_ps(_mm512_i32gather_ps(column, products[0] + q, 4), _mm512_set1_ps(scale_of(DIM))));
  }
}

#endif

template <typename scalar>
void hide(const Query<scalar>& query, int64_t start, int64_t end, float* scores) {
  std::fill(scores, scores + query.lowest, UNSEEN);
  for (int64_t entry = start; entry < end; ++entry)
    if (!query.seen[entry - start]) scores[entry] = UNSEEN;
}

// Scores to weights.
inline void weigh(float* scores, int64_t end) {
  for (int64_t entry = end; entry % LANES; ++entry) scores[entry] = UNSEEN;
  Floats most(UNSEEN);
  for (int64_t entry = 0; entry < end; entry += LANES) most = at::vec::maximum(most, load(scores + entry));
  const Floats peak(greatest(most));
  for (int64_t entry = 0; entry < end; entry += LANES)
    (load(scores + entry) - peak).exp_u20().store(scores + entry);
}

// mixed[q] = sum of weights[q][entry] * value, and totals[q] that of the weights: entry by entry, so that it does not
// matter where those stand that are not seen.
template <typename scalar, int64_t PARTS, int64_t QUERIES>
void mix(const float* weights, int64_t room, const Entries<scalar>& values, int64_t end,
         float (*mixed)[PARTS * LANES], float* totals) {
  Floats sums[QUERIES][PARTS];
  std::fill(totals, totals + QUERIES, 0.0f);
  for (auto& parts : sums) std::fill(parts, parts + PARTS, Floats(0));
  for (int64_t entry = 0; entry < end; ++entry) {
    Floats value[PARTS];
    load_entry(values, entry, value);
    for (int64_t q = 0; q < QUERIES; ++q) {
      const Floats weight(weights[q * room + entry]);
      totals[q] += weights[q * room + entry];
      for (int64_t part = 0; part < PARTS; ++part)
        sums[q][part] = at::vec::fmadd(weight, value[part], sums[q][part]);
    }
  }
  for (int64_t q = 0; q < QUERIES; ++q)
    for (int64_t part = 0; part < PARTS; ++part) sums[q][part].store(mixed[q] + part * LANES);
}

template <typename scalar, int64_t DIM, int64_t QUERIES>
void attend_few(const Query<scalar>* queries, int64_t count, const float* weights, int64_t room,
                const Entries<scalar>& values, int64_t end) {
  float mixed[QUERIES][DIM], totals[QUERIES];
  mix<scalar, DIM / LANES, QUERIES>(weights, room, values, end, mixed, totals);
  for (int64_t q = 0; q < std::min(count, QUERIES); ++q)
    for (int64_t d = 0; d < DIM; ++d) queries[q].to[d] = static_cast<scalar>(mixed[q][d] / totals[q]);
}

// `scores`: PASS * room floats of scratch.
template <typename scalar, int64_t DIM>
void attend(const Query<scalar>* queries, int64_t count, const Entries<scalar>& keys, const Entries<scalar>& values,
            const Row& row, float* scores, int64_t room) {
  score<DIM>(queries, count, keys, row.end, scores, room);
  for (int64_t q = 0; q < count; ++q) {
    hide(queries[q], row.start, row.end, scores + q * room);
    weigh(scores + q * room, row.end);
  }
  by_few(count, [&](int64_t first, auto few) {
    attend_few<scalar, DIM, few()>(queries + first, count - first, scores + first * room, room, values, row.end);
  });
}

// What the operator is given (ragged_attention.py), and what it makes.
struct Call {
  const Tensor queries, cache, slots, starts, positions, places, relatives;
  const int64_t window;
  std::vector<Row> rows = {};
  const Tensor outputs = at::empty(queries.sizes(), queries.options());

  int64_t width() const { return relatives.size(1); }
  int64_t before() const { return relatives.size(2) - width(); }  // relatives that were read in earlier calls
  int64_t heads() const { return queries.size(1); }
  int64_t dim() const { return queries.size(2); }
  int64_t kv_heads() const { return cache.size(2) / 2; }
  int64_t group() const { return heads() / kv_heads(); }
};

std::vector<Row> rows_of(const Call& call) {
  const auto slot = call.slots.accessor<int64_t, 1>(), start = call.starts.accessor<int64_t, 1>();
  const auto place = call.places.accessor<int64_t, 1>();
  std::vector<Row> rows(call.slots.size(0), Row{0, 0, 0, 0, 0});
  for (int64_t token = 0; token < place.size(0); ++token) {
    const int64_t index = place[token] / call.width(), column = place[token] % call.width();
    Row& row = rows[index];
    if (row.count++ == 0) row = {slot[index], start[index], token, 1, start[index]};
    row.end = std::max(row.end, row.start + call.before() + column + 1);
  }
  return rows;
}

std::vector<Task> tasks_of(const Call& call) {
  std::vector<Task> tasks;
  for (int64_t row = 0; row < static_cast<int64_t>(call.rows.size()); ++row) {
    const int64_t queries = call.rows[row].count * call.group();
    for (int64_t head = 0; call.rows[row].count < WIDE && head < call.kv_heads(); ++head)
      for (int64_t first = 0; first < queries; first += PASS)
        tasks.push_back({row, head, first, std::min(PASS, queries - first)});
  }
  return tasks;
}

// The query vectors of `task`; what is left of FEW repeats the last.
template <typename scalar>
void queries_of(const Call& call, const Task& task, Query<scalar>* queries) {
  const Row& row = call.rows[task.row];
  const auto* from = call.queries.const_data_ptr<scalar>();
  const auto* relatives = call.relatives.const_data_ptr<bool>() + task.row * call.relatives.stride(0);
  for (int64_t q = 0; q < (task.count + FEW - 1) / FEW * FEW; ++q) {
    const int64_t index = task.first + std::min(q, task.count - 1);
    const int64_t token = row.first + index / call.group();
    const int64_t head = task.head * call.group() + index % call.group();
    const int64_t position = call.positions.const_data_ptr<int64_t>()[token];
    const int64_t column = call.places.const_data_ptr<int64_t>()[token] % call.width();
    queries[q] = {from + token * call.queries.stride(0) + head * call.queries.stride(1),
                  call.outputs.mutable_data_ptr<scalar>() + (token * call.heads() + head) * call.dim(),
                  relatives + column * call.relatives.stride(1),
                  call.window ? std::clamp(position - call.window + 1, int64_t{0}, row.end) : 0};
  }
}

template <typename scalar, int64_t DIM>
void attend_narrow(const Call& call) {
  const auto tasks = tasks_of(call);
  int64_t longest = 0;
  for (const Row& row : call.rows) longest = std::max(longest, row.end);
  const int64_t room = (longest + SIDE - 1) / SIDE * SIDE, stride = call.cache.stride(1);
  at::parallel_for(0, static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end) {
    Configured tiles;
    tiles.for_tokens(2 * SIDE);  // all of every tile
    const auto scores = std::make_unique_for_overwrite<float[]>(PASS * room);
    Query<scalar> queries[PASS];
    for (int64_t index = begin; index < end; ++index) {
      const Task& task = tasks[index];
      const Row& row = call.rows[task.row];
      const auto* slot = call.cache.const_data_ptr<scalar>() + row.slot * call.cache.stride(0);
      const Entries<scalar> keys{slot + task.head * DIM, stride};
      const Entries<scalar> values{slot + (call.kv_heads() + task.head) * DIM, stride};
      queries_of(call, task, queries);
      attend<scalar, DIM>(queries, task.count, keys, values, row, scores.get(), room);
    }
  });
}

// Which entries each of the row's tokens sees: [tokens, entries].
Tensor seen_by(const Call& call, int64_t index) {
  const Row& row = call.rows[index];
  const auto columns = call.places.narrow(0, row.first, row.count).remainder(call.width());
  const auto own = call.relatives.select(0, index).index_select(0, columns).narrow(1, 0, row.end - row.start);
  const auto seen = at::cat({at::ones({row.count, row.start}, own.options()), own}, 1);
  if (!call.window) return seen;
  const auto lowest = call.positions.narrow(0, row.first, row.count).unsqueeze(1).sub(call.window);
  return seen.logical_and(at::arange(row.end, lowest.options()).gt(lowest));
}

// One row by PyTorch's own attention, on a view of the row's slot.
void attend_wide(const Call& call, int64_t index) {
  const Row& row = call.rows[index];
  const auto entries = call.cache.select(0, row.slot).narrow(0, 0, row.end).transpose(0, 1).unsqueeze(0).chunk(2, 1);
  const auto queries = call.queries.narrow(0, row.first, row.count).unflatten(1, {call.kv_heads(), call.group()});
  const auto folded = queries.permute({1, 2, 0, 3}).reshape({1, call.kv_heads(), call.group() * row.count, call.dim()});
  const auto mask = seen_by(call, index).repeat({call.group(), 1});
  const auto attended = at::scaled_dot_product_attention(folded, entries[0], entries[1], mask);
  const auto unfolded = attended.view({call.heads(), row.count, call.dim()}).transpose(0, 1);
  call.outputs.narrow(0, row.first, row.count).copy_(unfolded);
}

using Attend = void (*)(const Call&);

// What attends narrow rows with heads of this dimension; null where there is nothing.
template <typename scalar>
Attend for_dim(int64_t dim) {
  switch (dim) {
    case 64: return attend_narrow<scalar, 64>;
    case 128: return attend_narrow<scalar, 128>;
    default: return nullptr;
  }
}

Attend for_type_and_dim(at::ScalarType type, int64_t dim) {
  switch (type) {
    case at::kBFloat16: return for_dim<c10::BFloat16>(dim);
    case at::kHalf: return for_dim<c10::Half>(dim);
    case at::kFloat: return for_dim<float>(dim);
    default: return nullptr;
  }
}

Tensor ragged_attention(const Tensor& queries, const Tensor& cache, const Tensor& slots, const Tensor& starts,
                        const Tensor& positions, const Tensor& places, const Tensor& relatives, int64_t window) {
  TORCH_CHECK(queries.stride(2) == 1, "ragged_attention: a query vector must be contiguous");
  Call call{queries, cache, slots, starts, positions.contiguous(), places.contiguous(), relatives.contiguous(), window};
  call.rows = rows_of(call);
  const Attend narrow = for_type_and_dim(queries.scalar_type(), call.dim());
  if (narrow) narrow(call);
  for (size_t row = 0; row < call.rows.size(); ++row)
    if (!narrow || call.rows[row].count >= WIDE) attend_wide(call, static_cast<int64_t>(row));
  return call.outputs;
}

}  // namespace

TORCH_LIBRARY_IMPL(cospec, CPU, library) { library.impl("ragged_attention", &ragged_attention); }
