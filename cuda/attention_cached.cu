// Decoding: one query of each batch item and head against the rows of a cache.
//
// Memory traffic at least: the valid rows of the cache are read once. There are two kernels, so that a single
// query keeps many multiprocessors busy: the first has a warp for each cached row and head; the second has a
// block for each head and 128 bytes of its width, which runs over all rows.
#include <cmath>

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/ops/attention.h"

namespace tandem::cuda {
namespace {

constexpr int kThreads = 256;

// The cache (rows, batch, 2 width), of which each row holds the keys of all heads and then the values.
struct Cache {
  int64_t valid, batch, width, heads, head;
  __device__ int64_t query(int64_t item) const { return item * head; }  // item = b heads + h
  __device__ int64_t key(int64_t row, int64_t item) const {
    return ((row * batch + item / heads) * 2) * width + item % heads * head;
  }
  __device__ int64_t value(int64_t row, int64_t item) const { return key(row, item) + width; }
};

// scores (items, valid) = q . keys scale
template <int N, class T>
__global__ void __launch_bounds__(kThreads, 2)
    cached_scores(Compute<T>* scores, const T* q, const T* kv, Cache cache, Compute<T> scale) {
  using C = Compute<T>;
  const int64_t items = cache.batch * cache.heads;
  const int64_t warp = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  const int64_t row = warp / items, item = warp % items;  // neighbours read neighbouring keys
  if (row >= cache.valid) return;
  const T* query = q + cache.query(item);
  const T* key = kv + cache.key(row, item);
  C dot = 0;
#pragma unroll 4
  for (int64_t i = int64_t{threadIdx.x % kWarp} * N; i < cache.head; i += kWarp * N) {
    const Vec<T, N> x = load_vector<T, N>(query + i), y = load_vector<T, N>(key + i);
#pragma unroll
    for (int k = 0; k < N; ++k) dot += static_cast<C>(x.v[k]) * static_cast<C>(y.v[k]);
  }
  dot = warp_reduce(dot, Sum());
  if (threadIdx.x % kWarp == 0) scores[item * cache.valid + row] = dot * scale;
}

// Computes y = softmax(scores) values. A group of kLanes neighbouring threads takes N elements of the width
// each, and every group of a block takes its share of the rows; the sums of the groups are added in order.
constexpr int kLanes = 8, kGroups = kThreads / kLanes;

template <int N, class T>
__global__ void __launch_bounds__(kThreads, 2)
    cached_sum(T* y, const Compute<T>* scores, const T* kv, Cache cache, int64_t pieces) {
  using C = Compute<T>;
  const int64_t item = blockIdx.x / pieces;
  const int64_t i = (blockIdx.x % pieces * kLanes + threadIdx.x % kLanes) * N;
  const bool inside = i < cache.head;
  const C* score = scores + item * cache.valid;
  C largest = -HUGE_VALF;
  for (int64_t row = threadIdx.x; row < cache.valid; row += kThreads)
    largest = std::fmax(score[row], largest);
  largest = block_max<kThreads>(largest);

  C sum[N] = {}, total = 0;
  const int group = static_cast<int>(threadIdx.x) / kLanes;
#pragma unroll 4
  for (int64_t row = group; row < cache.valid; row += kGroups) {
    const C weight = fast_exp(score[row] - largest);
    total += weight;
    if (!inside) continue;
    const Vec<T, N> value = load_vector<T, N>(kv + cache.value(row, item) + i);
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] += weight * static_cast<C>(value.v[k]);
  }

  __shared__ C sums[kGroups][kLanes * N + 1];  // the last: of the weights
#pragma unroll
  for (int k = 0; k < N; ++k) sums[group][threadIdx.x % kLanes * N + k] = sum[k];
  if (threadIdx.x % kLanes == 0) sums[group][kLanes * N] = total;
  __syncthreads();
  const int64_t column = blockIdx.x % pieces * kLanes * N + threadIdx.x;
  if (threadIdx.x >= kLanes * N || column >= cache.head) return;
  C all = 0, weights = 0;
  for (int g = 0; g < kGroups; ++g) {
    all += sums[g][threadIdx.x];
    weights += sums[g][kLanes * N];
  }
  y[cache.query(item) + column] = static_cast<T>(all / weights);
}

template <int N, class T>
void run(const Tensor& y, const Tensor& scores, const Tensor& q, const Tensor& kv, const Cache& cache) {
  using C = Compute<T>;
  const int64_t items = cache.batch * cache.heads, pieces = blocks_for(cache.head, kLanes * N);
  launch(cached_scores<N, T>, blocks_for(items * cache.valid, kThreads / kWarp), kThreads, 0,
         compute_stream(), scores.data<C>(), q.data<T>(), kv.data<T>(), cache,
         C(1) / std::sqrt(static_cast<C>(cache.head)));
  launch(cached_sum<N, T>, blocks_for(items * pieces, 1), kThreads, 0, compute_stream(), y.data<T>(),
         scores.data<C>(), kv.data<T>(), cache, pieces);
}

}  // namespace

void attend_cached(const Tensor& y, const Tensor& q, const Tensor& kv_cache, int64_t valid, int64_t heads) {
  if (q.numel() == 0) return;
  const Cache cache{valid, q.size(0), q.size(1), heads, q.size(1) / heads};
  dispatch_device_float(q.dtype(), "attend_cached", [&]<class T>() {
    const Tensor scores({q.size(0), heads, valid}, dtype_of<Compute<T>>(), q.device());
    if (cache.head % kVector<T> == 0 && is_aligned(q.raw()) && is_aligned(kv_cache.raw()))
      run<kVector<T>, T>(y, scores, q, kv_cache, cache);
    else
      run<1, T>(y, scores, q, kv_cache, cache);
  });
}

}  // namespace tandem::cuda
