// The loops of muon_step before and after its products, each in one launch for a whole batch of matrices. Launches take
// a table of addresses by value, so that a CUDA graph holds them.
#include "tandem/ops/muon_step.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/ops/optimizer_step.h"

namespace tandem::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kShare = 1 << 13;  // elements of a block of momentum_kernel
constexpr int kTile = 32,
              kTileRows = kThreads / kTile;  // a tile is (32, 32); its threads take 8 rows at once

// A matrix on the device, f32 or f64.
struct Entry {
  void* value;
  const void* gradient;
  void* m;
  bf16* copy;        // the bf16 copy of the weights, or null
  const void* mask;  // 0 where a weight is pruned, or null
  bool tall;         // more rows than columns: transposed in x
};
struct Table {
  Entry entries[kMuonBatch];
  int count;
  int64_t shorter, longer;  // the axes of each matrix
};
static_assert(sizeof(Table) <= 3900);  // all arguments of a launch fit into 4 KiB

Table table_of(const std::vector<MuonSlot>& batch, const Tensor& x) {
  Table table{};
  table.shorter = x.size(1);
  table.longer = x.size(2);
  const auto raw = [](const Tensor& t) { return t.defined() ? t.raw() : nullptr; };
  for (const MuonSlot& slot : batch)
    table.entries[table.count++] = {slot.value.raw(), slot.gradient.raw(),
                                    slot.m.raw(),     static_cast<bf16*>(raw(slot.copy)),
                                    raw(slot.mask),   slot.value.size(0) > slot.value.size(1)};
  return table;
}

// Updates m; partials[block] = sum of the squares of the block's share of u. Each matrix has `shares` blocks.
template <class T>
__global__ void __launch_bounds__(kThreads)
    momentum_kernel(double* partials, const Table table, int64_t shares, T beta, const double* outcome) {
  if (outcome[kOutcomeUpdated] == 0) return;
  const Entry& entry = table.entries[blockIdx.x / shares];
  const int64_t begin = blockIdx.x % shares * kShare, left = table.shorter * table.longer - begin;
  const int64_t end = begin + (left < kShare ? left : kShare);
  T* const m = static_cast<T*>(entry.m);
  const T* const gradient = static_cast<const T*>(entry.gradient);
  double sum = 0;
#pragma unroll 4
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const T g = gradient[i], new_m = muon_momentum(m[i], g, beta);
    const double u = muon_momentum(new_m, g, beta);
    m[i] = new_m;
    sum += u * u;
  }
  const double total = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

// One block for each matrix: scales[matrix] = 1 / (|u| + eps), or 0 if the step was skipped.
__global__ void __launch_bounds__(kThreads)
    scale_kernel(double* scales, const double* partials, int64_t shares, const double* outcome) {
  double sum = 0;
  if (outcome[kOutcomeUpdated] != 0)
    for (int64_t i = threadIdx.x; i < shares; i += kThreads) sum += partials[blockIdx.x * shares + i];
  const double norm = std::sqrt(block_sum<kThreads>(sum));
  if (threadIdx.x == 0) scales[blockIdx.x] = outcome[kOutcomeUpdated] != 0 ? 1 / (norm + kMuonEps) : 0;
}

// A block's tile of a matrix: its first row and column, in the matrix's own axes.
struct Tile {
  int64_t matrix, row, column;
  int64_t rows, columns;  // of the matrix
};

__device__ __forceinline__ Tile tile_of(const Table& table) {
  const int64_t tiles = (table.shorter + kTile - 1) / kTile * ((table.longer + kTile - 1) / kTile);
  const int64_t matrix = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  const bool tall = table.entries[matrix].tall;
  const int64_t rows = tall ? table.longer : table.shorter, columns = tall ? table.shorter : table.longer;
  const int64_t across = (columns + kTile - 1) / kTile;
  return {matrix, tile / across * kTile, tile % across * kTile, rows, columns};
}

// Returns the number of blocks that tile_of() divides a batch among.
unsigned tiles_of(const Table& table) {
  return static_cast<unsigned>(table.count) * blocks_for(table.shorter, kTile) *
         blocks_for(table.longer, kTile);
}

// Calls f(row, column, index of the element) for this thread's elements of a tile that lie in (rows, columns).
template <class F>
__device__ __forceinline__ void for_tile(int64_t first_row, int64_t first_column, int64_t rows,
                                         int64_t columns, const F& f) {
  const int column = static_cast<int>(threadIdx.x) % kTile;
#pragma unroll
  for (int row = static_cast<int>(threadIdx.x) / kTile; row < kTile; row += kTileRows)
    if (first_row + row < rows && first_column + column < columns)
      f(row, column, (first_row + row) * columns + first_column + column);
}

// x = scale u. Tall matrices are transposed through shared memory, so that both sides are read and written in rows.
template <class T, class X>
__global__ void __launch_bounds__(kThreads)
    direction_kernel(X* x, const Table table, const double* scales, T beta, const double* outcome) {
  __shared__ X turned[kTile][kTile + 1];
  const Tile tile = tile_of(table);
  const Entry& entry = table.entries[tile.matrix];
  const T *const m = static_cast<const T*>(entry.m), *const gradient = static_cast<const T*>(entry.gradient);
  const T scale = static_cast<T>(scales[tile.matrix]);
  const bool skipped = outcome[kOutcomeUpdated] == 0;  // then u may be NaN
  x += tile.matrix * table.shorter * table.longer;
  for_tile(tile.row, tile.column, tile.rows, tile.columns, [&](int row, int column, int64_t i) {
    const X value = static_cast<X>(skipped ? T(0) : scale * muon_momentum(m[i], gradient[i], beta));
    if (entry.tall)
      turned[column][row] = value;
    else
      x[i] = value;
  });
  if (!entry.tall) return;
  __syncthreads();
  for_tile(tile.column, tile.row, tile.columns, tile.rows,
           [&](int row, int column, int64_t i) { x[i] = turned[row][column]; });
}

template <class T, class X>
__global__ void __launch_bounds__(kThreads) update_kernel(const Table table, const X* x, const MuonRule rule,
                                                          const double* lr, const double* outcome) {
  if (outcome[kOutcomeUpdated] == 0) return;
  __shared__ X turned[kTile][kTile + 1];
  const Tile tile = tile_of(table);
  const Entry& entry = table.entries[tile.matrix];
  const MuonFactors factors = muon_factors(rule, *lr, table.longer);
  const T decay = static_cast<T>(factors.decay), rate = static_cast<T>(factors.rate);
  T* const value = static_cast<T*>(entry.value);
  const T* const mask = static_cast<const T*>(entry.mask);
  x += tile.matrix * table.shorter * table.longer;
  if (entry.tall) {
    for_tile(tile.column, tile.row, tile.columns, tile.rows,
             [&](int row, int column, int64_t i) { turned[column][row] = x[i]; });
    __syncthreads();
  }
  for_tile(tile.row, tile.column, tile.rows, tile.columns, [&](int row, int column, int64_t i) {
    const T move = static_cast<T>(entry.tall ? turned[row][column] : x[i]);
    const T updated = mask && mask[i] == T(0) ? T(0) : muon_value(value[i], move, decay, rate);
    value[i] = updated;
    if (entry.copy) entry.copy[i] = bf16(static_cast<float>(updated));
  });
}

// The elements of P, computed over those of A A; n is the size of an axis.
struct Polynomial {
  int64_t n;
  template <class C>
  __device__ C operator()(int64_t i, C a, C aa) const {
    return muon_polynomial_element(i / n % n == i % n ? C(1) : C(0), a, aa);
  }
};

// Calls f<T, X>() with the types of the parameters and of x, which is bf16 or of the same type.
template <class F>
void dispatch_types(DType parameters, DType x, const F& f) {
  dispatch_float(parameters, "muon_step", [&]<class T>() {
    if (x == DType::bf16)
      f.template operator()<T, bf16>();
    else
      f.template operator()<T, T>();
  });
}

}  // namespace

void muon_begin(const Tensor& x, const std::vector<MuonSlot>& batch, const MuonRule& rule,
                const Tensor& outcome) {
  const Table table = table_of(batch, x);
  const int64_t shares = blocks_for(table.shorter * table.longer, kShare);
  const Tensor partials({table.count * shares}, DType::f64, x.device());
  const Tensor scales({table.count}, DType::f64, x.device());
  const double* const result = outcome.data<double>();
  dispatch_types(batch[0].value.dtype(), x.dtype(), [&]<class T, class X>() {
    const T beta = static_cast<T>(rule.beta);
    launch(momentum_kernel<T>, static_cast<unsigned>(table.count * shares), kThreads, 0, compute_stream(),
           partials.data<double>(), table, shares, beta, result);
    launch(scale_kernel, table.count, kThreads, 0, compute_stream(), scales.data<double>(),
           partials.data<double>(), shares, result);
    launch(direction_kernel<T, X>, tiles_of(table), kThreads, 0, compute_stream(), x.data<X>(), table,
           scales.data<double>(), beta, result);
  });
}

void muon_polynomial(const Tensor& p, const Tensor& a) {
  dispatch_device_float(p.dtype(), "muon_step", [&]<class T>() {
    map(p.data<T>(), p.numel(), Polynomial{p.size(2)}, a.data<T>(), p.data<T>());
  });
}

void muon_end(const std::vector<MuonSlot>& batch, const Tensor& x, const MuonRule& rule, const Tensor& lr,
              const Tensor& outcome) {
  const Table table = table_of(batch, x);
  dispatch_types(batch[0].value.dtype(), x.dtype(), [&]<class T, class X>() {
    launch(update_kernel<T, X>, tiles_of(table), kThreads, 0, compute_stream(), table, x.data<X>(), rule,
           lr.data<double>(), outcome.data<double>());
  });
}

}  // namespace tandem::cuda
