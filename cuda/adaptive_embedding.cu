// adaptive_embedding: the rows of one cluster; the rest is products and the kernels of embedding.
#include "tandem/ops/adaptive_embedding.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

constexpr int kThreads = 256;

// A warp copies the row of one token. Memory traffic at least: the rows of the table are read and y is
// written, once.
template <class Y, class W, int N>
__global__ void __launch_bounds__(kThreads)
    cluster_rows_kernel(Y* y, const int32_t* ids, int64_t tokens, const W* table, int64_t count,
                        int64_t width, ClusterIds cluster, W scale) {
  const int64_t token = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (token >= tokens) return;
  const int64_t id = ids[token], row = id - cluster.begin;
  const bool here = row >= 0 && row < count, somewhere = id >= 0 && id < cluster.vocabulary;
  for (int64_t j = threadIdx.x % kWarp * N; j < width; j += kWarp * N) {
    Vec<W, N> in{};
    if (here) in = load_vector<W, N>(table + row * width + j);
    Vec<Y, N> out;
#pragma unroll
    for (int k = 0; k < N; ++k) out.v[k] = static_cast<Y>(somewhere ? in.v[k] * scale : W(NAN));
    store_vector(y + token * width + j, out);
  }
}

template <class Y, class W>
void rows_of_cluster(const Tensor& y, const Tensor& ids, const Tensor& table, ClusterIds cluster,
                     double scale) {
  constexpr int N = kVector<Y>;
  const int64_t width = table.size(1);
  const bool wide = width % N == 0 && is_aligned(y.raw()) && is_aligned(table.raw(), sizeof(Vec<W, N>));
  launch(wide ? cluster_rows_kernel<Y, W, N> : cluster_rows_kernel<Y, W, 1>,
         blocks_for(ids.numel(), kThreads / kWarp), kThreads, 0, compute_stream(), y.data<Y>(),
         ids.data<int32_t>(), ids.numel(), table.data<W>(), table.size(0), width, cluster,
         static_cast<W>(scale));
}

__global__ void __launch_bounds__(kMapThreads)
    shift_ids_kernel(int32_t* y, const int32_t* ids, int64_t n, int32_t begin) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i < n) y[i] = ids[i] - begin;
}

}  // namespace

void cluster_table_rows(const Tensor& y, const Tensor& ids, const Tensor& table, ClusterIds cluster,
                        double scale) {
  dispatch_device_float(y.dtype(), "adaptive_embedding",
                        [&]<class T>() { rows_of_cluster<T, Compute<T>>(y, ids, table, cluster, scale); });
}

void shift_ids(const Tensor& y, const Tensor& ids, int64_t begin) {
  launch(shift_ids_kernel, blocks_for(ids.numel(), kMapThreads), kMapThreads, 0, compute_stream(),
         y.data<int32_t>(), ids.data<int32_t>(), ids.numel(), static_cast<int32_t>(begin));
}

}  // namespace tandem::cuda
