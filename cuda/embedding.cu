// Embedding: forward gathers rows; backward sorts the tokens by id and sums the gradients of each id, in
// order of the tokens.
#include "tandem/ops/embedding.h"

#include <bit>

#include "tandem/core/array.h"
#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

constexpr int kGatherThreads = 256;

// A warp copies the row of one token. An id outside the table gives NaN: checking ids on the host would wait
// for the device. Memory traffic at least: y is written once, 2 bytes an element in bf16; a row of the table
// is read from memory once and then, mostly, from the cache.
template <class Y, class W, int N>
__global__ void __launch_bounds__(kGatherThreads)
    gather_kernel(Y* y, const int32_t* ids, const W* table, int64_t tokens, int64_t count, int64_t width) {
  const int64_t token = static_cast<int64_t>(blockIdx.x) * (kGatherThreads / kWarp) + threadIdx.x / kWarp;
  if (token >= tokens) return;
  const int64_t id = ids[token];
  const bool valid = id >= 0 && id < count;
  const W* const row = table + (valid ? id : 0) * width;
#pragma unroll 4
  for (int64_t j = threadIdx.x % kWarp * N; j < width; j += kWarp * N) {
    const Vec<W, N> in = load_vector<W, N>(row + j);
    Vec<Y, N> out;
#pragma unroll
    for (int k = 0; k < N; ++k) out.v[k] = static_cast<Y>(valid ? in.v[k] : W(NAN));
    store_vector(y + token * width + j, out);
  }
}

// --- Sorting: a stable radix sort, from the lowest digits up ---

constexpr int kTile = 1024;       // tokens that a block sorts
constexpr int kMaxDigits = 1024;  // values of a digit
constexpr int kSortThreads = 256;

using Entry = Vec<int32_t, 2>;  // an id, and the token it belongs to

// Which bits of an id a pass sorts by. All ids outside the table count as one, the number of its rows.
struct Digit {
  int shift, bits;
  int64_t count;
  __host__ __device__ int values() const { return 1 << bits; }
  __device__ int of(int32_t id) const { return id >> shift & (values() - 1); }
  __device__ int32_t checked(int32_t id) const {
    return static_cast<int32_t>(id >= 0 && id < count ? id : count);
  }
};

// Entry i of the order before this pass: before the first (null), that of the tokens.
__device__ __forceinline__ Entry entry_at(const Entry* from, const int32_t* ids, const Digit& digit,
                                          int64_t i) {
  return from ? from[i] : Entry{{digit.checked(ids[i]), static_cast<int32_t>(i)}};
}

// counts (tiles, values): how often each digit is in each tile.
__global__ void __launch_bounds__(kSortThreads)
    count_digits_kernel(int32_t* counts, const Entry* from, const int32_t* ids, int64_t tokens, Digit digit) {
  __shared__ int32_t bins[kMaxDigits];
  const int thread = static_cast<int>(threadIdx.x), values = digit.values();
  for (int d = thread; d < values; d += kSortThreads) bins[d] = 0;
  __syncthreads();
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kTile;
  for (int k = thread; k < kTile && begin + k < tokens; k += kSortThreads)
    atomicAdd(&bins[digit.of(entry_at(from, ids, digit, begin + k).v[0])], 1);
  __syncthreads();
  for (int d = thread; d < values; d += kSortThreads)
    counts[static_cast<int64_t>(blockIdx.x) * values + d] = bins[d];
}

// Moves each entry to its place: behind all entries of lower digits, those of its own digit in earlier tiles,
// and those before it in this tile.
__global__ void __launch_bounds__(kSortThreads)
    scatter_kernel(Entry* to, const int32_t* counts, const Entry* from, const int32_t* ids, int64_t tokens,
                   Digit digit) {
  constexpr int kEach = kMaxDigits / kSortThreads;  // neighbouring digits that a thread takes
  __shared__ Entry tile[kTile];
  __shared__ int32_t next[kMaxDigits];  // where the next entry of a digit goes
  __shared__ int32_t sums[kSortThreads];
  const int thread = static_cast<int>(threadIdx.x), values = digit.values();
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kTile;
  const int size = static_cast<int>(tokens - begin < kTile ? tokens - begin : kTile);
  for (int k = thread; k < size; k += kSortThreads) tile[k] = entry_at(from, ids, digit, begin + k);

  Vec<int32_t, kEach> all{}, earlier{};
  if (thread * kEach < values)
#pragma unroll 8
    for (unsigned t = 0; t < gridDim.x; ++t) {
      const auto counted =
          load_vector<int32_t, kEach>(counts + static_cast<int64_t>(t) * values + thread * kEach);
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        all.v[i] += counted.v[i];
        earlier.v[i] += t < blockIdx.x ? counted.v[i] : 0;
      }
    }
  int32_t own = 0;
  for (int i = 0; i < kEach; ++i) own += all.v[i];
  sums[thread] = own;
  __syncthreads();
  for (int distance = 1; distance < kSortThreads; distance *= 2) {  // sums[t] becomes that of threads 0..t
    const int32_t before = thread >= distance ? sums[thread - distance] : 0;
    __syncthreads();
    sums[thread] += before;
    __syncthreads();
  }
  int32_t place = sums[thread] - own;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    next[thread * kEach + i] = place + earlier.v[i];
    place += all.v[i];
  }
  __syncthreads();

  if (thread >= kWarp) return;  // the rest has an order, so one warp does it, 32 entries at a time
  for (int k = thread; k - thread < size; k += kWarp) {
    const bool valid = k < size;
    const int value = valid ? digit.of(tile[k].v[0]) : 0;
    unsigned same = __ballot_sync(0xffffffffu, valid);  // the lanes with this lane's digit
    for (int bit = 0; bit < digit.bits; ++bit) {
      const bool is_set = value >> bit & 1;
      const unsigned set = __ballot_sync(0xffffffffu, is_set);
      same &= is_set ? set : ~set;
    }
    const int before = __popc(same & ((1u << thread) - 1));
    if (valid) to[next[value] + before] = tile[k];
    __syncwarp();
    if (valid && before == 0) next[value] += __popc(same);
    __syncwarp();
  }
}

// --- Sums over runs of one id ---

constexpr int kMaxChunk = 128;  // entries that a thread adds up in a row
constexpr int kRunThreads = 128;
constexpr int kBatch = 8;  // of rows under way together

// Each block takes a chunk of the order and some columns. A run of one id inside the chunk goes into the
// table; of a run that crosses its ends, the part goes into edges (chunks, 2, width): 0 holds that of a run
// that begins in an earlier chunk, 1 of one that begins here and goes on. Floor: dy read once, the rows of
// the table that occur read and written once.
template <class Y, class W, int N>
__global__ void __launch_bounds__(kRunThreads)
    add_runs_kernel(W* table, W* edges, const Y* dy, const Entry* order, int64_t tokens, int chunk,
                    int64_t count, int64_t width) {
  __shared__ Entry entries[kMaxChunk];
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * chunk;
  const int size = static_cast<int>(tokens - begin < chunk ? tokens - begin : chunk);
  for (int k = static_cast<int>(threadIdx.x); k < size; k += kRunThreads) entries[k] = order[begin + k];
  __syncthreads();
  const int64_t j = (static_cast<int64_t>(blockIdx.y) * kRunThreads + threadIdx.x) * N;
  if (j >= width) return;
  const int32_t id_before = begin > 0 ? order[begin - 1].v[0] : -1;
  const int32_t id_after = begin + size < tokens ? order[begin + size].v[0] : -1;
  Vec<W, N> sum{};
  for (int first = 0; first < size; first += kBatch) {
    Vec<Y, N> rows[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int k = first + b < size ? first + b : size - 1;
      rows[b] = load_vector<Y, N>(dy + entries[k].v[1] * width + j);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int k = first + b;
      if (k >= size) break;
#pragma unroll
      for (int i = 0; i < N; ++i) sum.v[i] += static_cast<W>(rows[b].v[i]);
      const int32_t id = entries[k].v[0];
      const int32_t id_next = k + 1 < size ? entries[k + 1].v[0] : id_after;
      if (k + 1 < size && id_next == id) continue;
      // The run ends, or the chunk.
      if (id == id_before || id_next == id) {
        store_vector(edges + (2 * static_cast<int64_t>(blockIdx.x) + (id == id_before ? 0 : 1)) * width + j,
                     sum);
      } else if (id < count) {
        W* const to = table + id * width + j;
        Vec<W, N> total = load_vector<W, N>(to);
#pragma unroll
        for (int i = 0; i < N; ++i) total.v[i] += sum.v[i];
        store_vector(to, total);
      }
      sum = {};
    }
  }
}

// The runs that cross chunks: a block takes the one that begins in its chunk and goes on, if there is one,
// and adds its parts in order.
template <class W>
__global__ void __launch_bounds__(kRunThreads)
    add_edges_kernel(W* table, const W* edges, const Entry* order, int64_t tokens, int chunk, int64_t count,
                     int64_t width) {
  const int64_t here = blockIdx.x, next = here + 1;
  const auto first_id = [order, chunk](int64_t c) { return order[c * chunk].v[0]; };
  const auto last_id = [order, chunk](int64_t c) {
    return order[(c + 1) * chunk - 1].v[0];
  };  // not of the last
  const int64_t chunks = (tokens + chunk - 1) / chunk;
  if (next >= chunks) return;
  const int64_t id = last_id(here);
  if (id >= count || first_id(next) != id || (here > 0 && last_id(here - 1) == id)) return;
  int64_t last = next, beyond = chunks;  // the last chunk that begins with this id
  while (beyond - last > 1) {
    const int64_t middle = (last + beyond) / 2;
    (first_id(middle) == id ? last : beyond) = middle;
  }
  const int64_t j = static_cast<int64_t>(blockIdx.y) * kRunThreads + threadIdx.x;
  if (j >= width) return;
  W sum = edges[(2 * here + 1) * width + j];
#pragma unroll 8
  for (int64_t c = next; c <= last; ++c) sum += edges[2 * c * width + j];
  table[id * width + j] += sum;
}

template <class Y, class W>
void gather(const Tensor& y, const Tensor& ids, const Tensor& table) {
  constexpr int N = kVector<Y>;
  const int64_t width = table.size(1);
  const bool wide = width % N == 0 && is_aligned(y.raw()) && is_aligned(table.raw(), sizeof(Vec<W, N>));
  launch(wide ? gather_kernel<Y, W, N> : gather_kernel<Y, W, 1>,
         blocks_for(ids.numel(), kGatherThreads / kWarp), kGatherThreads, 0, compute_stream(), y.data<Y>(),
         ids.data<int32_t>(), table.data<W>(), ids.numel(), table.size(0), width);
}

// The tokens in the order of their ids; tokens of one id keep their order.
Tensor sorted(const Tensor& ids, int64_t count) {
  const int64_t tokens = ids.numel();
  const unsigned tiles = blocks_for(tokens, kTile);
  constexpr int kMaxBits = std::bit_width(unsigned{kMaxDigits}) - 1;
  const int bits = std::bit_width(static_cast<uint64_t>(count));  // `count` itself is the largest id
  const int passes = (bits + kMaxBits - 1) / kMaxBits;
  const int bits_each = std::max(2, (bits + passes - 1) / passes);  // four counts are loaded at once
  const Tensor counts({tiles, int64_t{1} << bits_each}, DType::i32, ids.device());
  Tensor from, to;
  for (int pass = 0; pass < passes; ++pass) {
    std::swap(from, to);
    if (!to.defined()) to = Tensor({tokens, 2}, DType::i32, ids.device());
    const Digit digit{pass * bits_each, bits_each, count};
    const auto* before = from.defined() ? static_cast<const Entry*>(from.raw()) : nullptr;
    launch(count_digits_kernel, tiles, kSortThreads, 0, compute_stream(), counts.data<int32_t>(), before,
           ids.data<int32_t>(), tokens, digit);
    launch(scatter_kernel, tiles, kSortThreads, 0, compute_stream(), static_cast<Entry*>(to.raw()),
           counts.data<int32_t>(), before, ids.data<int32_t>(), tokens, digit);
  }
  return to;
}

template <class Y, class W>
void add_runs(const Tensor& dtable, const Tensor& dy, const Tensor& order) {
  constexpr int N = kVector<Y>;
  const int64_t tokens = order.size(0), width = dtable.size(1);
  // Long chunks leave few edges, short ones enough blocks; the sizes alone decide.
  const int chunk = static_cast<int>(std::clamp<int64_t>(tokens / 512, 32, kMaxChunk));
  const unsigned chunks = blocks_for(tokens, chunk);
  const Tensor edges({chunks, 2, width}, dtable.dtype(), dtable.device());
  const auto* entries = static_cast<const Entry*>(order.raw());
  const bool wide = width % N == 0 && is_aligned(dy.raw()) && is_aligned(dtable.raw(), sizeof(Vec<W, N>));
  launch(wide ? add_runs_kernel<Y, W, N> : add_runs_kernel<Y, W, 1>,
         dim3(chunks, blocks_for(width, int64_t{kRunThreads} * (wide ? N : 1))), kRunThreads, 0,
         compute_stream(), dtable.data<W>(), edges.data<W>(), dy.data<Y>(), entries, tokens, chunk,
         dtable.size(0), width);
  launch(add_edges_kernel<W>, dim3(chunks, blocks_for(width, kRunThreads)), kRunThreads, 0, compute_stream(),
         dtable.data<W>(), edges.data<W>(), entries, tokens, chunk, dtable.size(0), width);
}

}  // namespace

void embedding_forward(const Tensor& y, const Tensor& ids, const Tensor& table) {
  dispatch_device_float(y.dtype(), "embedding", [&]<class T>() {
    if (table.dtype() == y.dtype())
      gather<T, T>(y, ids, table);
    else
      gather<T, Compute<T>>(y, ids, table);
  });
}

void embedding_backward(const Tensor& dtable, const Tensor& dy, const Tensor& ids, bool accumulate) {
  if (!accumulate) cuda::fill(dtable, 0);
  if (dy.numel() == 0) return;
  if (ids.numel() > INT32_MAX || dtable.size(0) >= INT32_MAX)
    throw Error("embedding: " + std::to_string(ids.numel()) + " tokens of a table of " +
                std::to_string(dtable.size(0)) + " rows; on a GPU both must be below 2^31");
  const Tensor order = sorted(ids, dtable.size(0));
  dispatch_device_float(dy.dtype(), "embedding",
                        [&]<class T>() { add_runs<T, Compute<T>>(dtable, dy, order); });
}

}  // namespace tandem::cuda
