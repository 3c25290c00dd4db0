// The norm of all gradients and the update of all parameters on the GPU, in a handful of launches for any
// number of parameters. Each launch takes a table of addresses by value, so that a CUDA graph holds them.
#include "tandem/ops/optimizer_step.h"

#include <algorithm>

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/cuda/device/launch_table.cuh"

namespace tandem::cuda {
namespace {

constexpr int kThreads = 256, kDecideThreads = 512;
constexpr int64_t kShare = kOptimizerBlock;  // of a block: parameters are of very different sizes, blocks not

// A parameter on the device, all f32 or all f64.
struct Entry {
  void* value;
  const void* gradient;
  void *m, *v;
  bf16* copy;  // the bf16 copy of the weights, or null
  int64_t* steps;
  int64_t count;
  int end_block;     // its blocks are those from the entry before on
  bool aligned;      // vectors can be loaded and stored
  bool decays;       // whether weight decay applies to it
  bool counts_only;  // whether it only takes part in the norm and is counted
};
constexpr int kEntries = 60;
struct Table {
  Entry entries[kEntries];
  int count = 0;
};
static_assert(sizeof(Table) <= 3900);  // all arguments of a launch fit into 4 KiB

// Entries of one dtype, and how many blocks theirs are.
struct Batch {
  Table table;
  DType dtype = DType::f32;
  int blocks = 0;
};

// This block's elements of an entry: vectors in [begin, middle), single ones in [middle, end).
struct Share {
  int entry;
  int64_t begin, middle, end;
};

template <int N>
__device__ __forceinline__ Share share_of(const Table& table) {
  const int i = entry_of_block(table.entries, table.count);
  const int64_t begin = block_in_entry(table.entries, i) * kShare, left = table.entries[i].count - begin;
  const int64_t count = left < kShare ? left : kShare;
  return {i, begin, table.entries[i].aligned ? begin + count / N * N : begin, begin + count};
}

template <int N, class T>
__device__ __forceinline__ double square_sum(const T* x, int64_t begin, int64_t end) {
  double sum = 0;
#pragma unroll 4
  for (int64_t i = begin + threadIdx.x * N; i < end; i += kThreads * N) {
    const Vec<T, N> some = load_vector<T, N>(x + i);
#pragma unroll
    for (int k = 0; k < N; ++k) sum += static_cast<double>(some.v[k]) * static_cast<double>(some.v[k]);
  }
  return sum;
}

// partials[block] = sum of the squares of the block's share of the gradients.
template <class T>
__global__ void __launch_bounds__(kThreads) square_sum_kernel(double* partials, const Table table) {
  constexpr int N = kVector<T>;
  const Share share = share_of<N>(table);
  const T* const gradient = static_cast<const T*>(table.entries[share.entry].gradient);
  const double sum =
      square_sum<N>(gradient, share.begin, share.middle) + square_sum<1>(gradient, share.middle, share.end);
  const double total = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

// One block: whether there is an update, the counts, and the numbers of each entry's update. With several
// tables each decides anew, and alike.
__global__ void __launch_bounds__(kDecideThreads)
    decide_kernel(double* outcome, AdamCoefficients* coefficients, const Table table, const double* partials,
                  int partial_count, const double* lr, const double* loss, const UpdateRule rule) {
  double sum = 0;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < partial_count; i += kDecideThreads) sum += partials[i];
  const double norm = std::sqrt(block_sum<kDecideThreads>(sum));
  const double loss_value = loss ? *loss : 0;
  const bool updated = std::isfinite(norm) && std::isfinite(loss_value);
  if (threadIdx.x == 0) {
    outcome[0] = loss_value;
    outcome[1] = norm;
    outcome[2] = updated ? 1 : 0;
  }
  const int i = static_cast<int>(threadIdx.x);
  if (!updated || i >= table.count) return;
  const int64_t t = ++*table.entries[i].steps;
  coefficients[i] = adam_coefficients(rule, t, *lr, adam_gradient_scale(rule, norm), table.entries[i].decays);
}
static_assert(kEntries <= kDecideThreads);

// Of a block's share of a parameter: squares of its elements and of their moves with trust 1.
struct Squares {
  double value, move;
};

template <int N, class T>
__device__ __forceinline__ void add_squares(Squares& sums, const Entry& entry, const AdamFactors<T>& k,
                                            int64_t begin, int64_t end) {
  const T* const value = static_cast<const T*>(entry.value);
  const T *const m = static_cast<const T*>(entry.m), *const v = static_cast<const T*>(entry.v);
  const T* const gradient = static_cast<const T*>(entry.gradient);
  for (int64_t i = begin + threadIdx.x * N; i < end; i += kThreads * N) {
    const Vec<T, N> value_i = load_vector<T, N>(value + i), m_i = load_vector<T, N>(m + i);
    const Vec<T, N> v_i = load_vector<T, N>(v + i), gradient_i = load_vector<T, N>(gradient + i);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const AdamState<T> before{value_i.v[j], m_i.v[j], v_i.v[j]};
      const double move = adam_move(adam_moments(before, gradient_i.v[j], k), gradient_i.v[j], k);
      sums.value += static_cast<double>(value_i.v[j]) * static_cast<double>(value_i.v[j]);
      sums.move += move * move;
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    trust_squares_kernel(Squares* partials, const Table table, const AdamCoefficients* coefficients,
                         const double* outcome) {
  if (outcome[2] == 0) return;
  constexpr int N = kVector<T>;
  const Share share = share_of<N>(table);
  const Entry& entry = table.entries[share.entry];
  const AdamFactors<T> k(coefficients[share.entry]);
  Squares sums{};
  add_squares<N>(sums, entry, k, share.begin, share.middle);
  add_squares<1>(sums, entry, k, share.middle, share.end);
  const Squares total{block_sum<kThreads>(sums.value), block_sum<kThreads>(sums.move)};
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

// One block an entry: LAMB's trust ratio, multiplied into the numbers of its update.
__global__ void __launch_bounds__(kThreads)
    trust_kernel(AdamCoefficients* coefficients, const Table table, const Squares* partials, const double* lr,
                 const double* outcome, const UpdateRule rule) {
  if (outcome[2] == 0) return;
  const int entry = static_cast<int>(blockIdx.x);
  const int begin = entry == 0 ? 0 : table.entries[entry - 1].end_block;
  Squares sums{};
  for (int i = begin + static_cast<int>(threadIdx.x); i < table.entries[entry].end_block; i += kThreads) {
    sums.value += partials[i].value;
    sums.move += partials[i].move;
  }
  const double value_norm = std::sqrt(block_sum<kThreads>(sums.value));
  const double move_norm = std::sqrt(block_sum<kThreads>(sums.move));
  if (threadIdx.x != 0) return;
  const double trust = lamb_trust(rule, value_norm, move_norm, *lr);
  coefficients[entry].rate *= trust;
  coefficients[entry].decay *= trust;
}

template <int N, class T>
__device__ __forceinline__ void update(const Entry& entry, const AdamFactors<T>& k, int64_t begin,
                                       int64_t end) {
  T* const value = static_cast<T*>(entry.value);
  T *const m = static_cast<T*>(entry.m), *const v = static_cast<T*>(entry.v);
  const T* const gradient = static_cast<const T*>(entry.gradient);
  for (int64_t i = begin + threadIdx.x * N; i < end; i += kThreads * N) {
    const Vec<T, N> value_i = load_vector<T, N>(value + i), m_i = load_vector<T, N>(m + i);
    const Vec<T, N> v_i = load_vector<T, N>(v + i), gradient_i = load_vector<T, N>(gradient + i);
    Vec<T, N> new_value, new_m, new_v;
    Vec<bf16, N> new_copy;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const AdamState<T> before{value_i.v[j], m_i.v[j], v_i.v[j]};
      const AdamState<T> after = adam_element(before, gradient_i.v[j], k);
      new_value.v[j] = after.value;
      new_m.v[j] = after.m;
      new_v.v[j] = after.v;
      new_copy.v[j] = bf16(static_cast<float>(after.value));
    }
    *reinterpret_cast<Vec<T, N>*>(value + i) = new_value;  // store_vector() would go through the stack here
    *reinterpret_cast<Vec<T, N>*>(m + i) = new_m;
    *reinterpret_cast<Vec<T, N>*>(v + i) = new_v;
    if (entry.copy) store_vector(entry.copy + i, new_copy);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    update_kernel(const Table table, const AdamCoefficients* coefficients, const double* outcome) {
  if (outcome[2] == 0) return;
  constexpr int N = kVector<T>;
  const Share share = share_of<N>(table);
  const Entry& entry = table.entries[share.entry];
  if (entry.counts_only) return;
  const AdamFactors<T> k(coefficients[share.entry]);
  update<N>(entry, k, share.begin, share.middle);
  update<1>(entry, k, share.middle, share.end);
}

std::vector<Batch> batches_of(const std::vector<ParameterSlot>& slots) {
  std::vector<Batch> batches(1);
  for (const ParameterSlot& slot : slots) {
    const DType dtype = slot.value.dtype();
    const int last = batches.back().table.count;
    if (last == kEntries || (last > 0 && batches.back().dtype != dtype)) batches.emplace_back();
    Batch& batch = batches.back();
    batch.dtype = dtype;
    batch.blocks += static_cast<int>(blocks_for(slot.value.numel(), kShare));
    void* const copy = slot.copy.defined() ? slot.copy.raw() : nullptr;
    const bool aligned = is_aligned(slot.value.raw()) && is_aligned(slot.gradient.raw()) &&
                         is_aligned(slot.m.raw()) && is_aligned(slot.v.raw()) && is_aligned(copy, 8);
    batch.table.entries[batch.table.count++] = {slot.value.raw(),
                                                slot.gradient.raw(),
                                                slot.m.raw(),
                                                slot.v.raw(),
                                                static_cast<bf16*>(copy),
                                                slot.steps.data<int64_t>(),
                                                slot.value.numel(),
                                                batch.blocks,
                                                aligned,
                                                slot.decays,
                                                slot.counts_only};
  }
  return batches;
}

}  // namespace

void gradient_squares(const std::vector<ParameterSlot>& slots, const Tensor& squares) {
  double* partial = squares.data<double>();
  for (const Batch& batch : batches_of(slots)) {
    dispatch_float(batch.dtype, "optimizer", [&]<class T>() {
      launch(square_sum_kernel<T>, batch.blocks, kThreads, 0, compute_stream(), partial, batch.table);
    });
    partial += batch.blocks;
  }
}

void optimizer_step(const std::vector<ParameterSlot>& slots, const UpdateRule& rule, const Tensor& lr,
                    const Tensor& loss, const Tensor& squares, const Tensor& outcome) {
  const std::vector<Batch> batches = batches_of(slots);
  const int64_t bytes = static_cast<int64_t>(batches.size() * kEntries * sizeof(AdamCoefficients));
  const Tensor numbers({bytes}, DType::u8, outcome.device());
  double* const told = outcome.data<double>();
  const auto coefficients_of = [&numbers](size_t batch) {
    return static_cast<AdamCoefficients*>(numbers.raw()) + batch * kEntries;
  };

  for (size_t i = 0; i < batches.size(); ++i)
    launch(decide_kernel, 1, kDecideThreads, 0, compute_stream(), told, coefficients_of(i), batches[i].table,
           squares.data<double>(), static_cast<int>(squares.numel()), lr.data<double>(),
           loss.defined() ? loss.data<double>() : nullptr, rule);
  if (rule.kind == OptimizerKind::lamb) {
    int blocks = 0;  // of the largest batch
    for (const Batch& batch : batches) blocks = std::max(blocks, batch.blocks);
    const Tensor parts_of_blocks({blocks * static_cast<int64_t>(sizeof(Squares))}, DType::u8,
                                 outcome.device());
    for (size_t i = 0; i < batches.size(); ++i) {
      Squares* const parts = static_cast<Squares*>(parts_of_blocks.raw());  // one batch after the other
      dispatch_float(batches[i].dtype, "optimizer", [&]<class T>() {
        launch(trust_squares_kernel<T>, batches[i].blocks, kThreads, 0, compute_stream(), parts,
               batches[i].table, coefficients_of(i), told);
      });
      launch(trust_kernel, batches[i].table.count, kThreads, 0, compute_stream(), coefficients_of(i),
             batches[i].table, parts, lr.data<double>(), told, rule);
    }
  }
  for (size_t i = 0; i < batches.size(); ++i)
    dispatch_float(batches[i].dtype, "optimizer", [&]<class T>() {
      launch(update_kernel<T>, batches[i].blocks, kThreads, 0, compute_stream(), batches[i].table,
             coefficients_of(i), told);
    });
}

}  // namespace tandem::cuda
