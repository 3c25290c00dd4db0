// chunk_sum. Memory traffic at least, in both directions: each element is read once and written once.
#include "tandem/ops/chunk_sum.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

// Both kernels: N elements a thread, all of one chunk, for N divides `width`, and the row length n too.
template <int N, class T>
__global__ void __launch_bounds__(kMapThreads)
    forward_kernel(T* y, const T* x, int64_t count, int64_t n, int64_t width) {
  using C = Compute<T>;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * N;
  if (first >= count) return;
  const T* from = x + first / width * n + first % width;
  C sum[N] = {};
#pragma unroll 4
  for (int64_t end = width; end <= n; end += width, from += width) {
    const Vec<T, N> chunk = load_vector<T, N>(from);
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] += static_cast<C>(chunk.v[k]);
  }
  Vec<T, N> out;
#pragma unroll
  for (int k = 0; k < N; ++k) out.v[k] = static_cast<T>(sum[k]);
  store_vector(y + first, out);
}

// `used`: elements of a row that lie in whole chunks.
template <int N, class T>
__global__ void __launch_bounds__(kMapThreads)
    backward_kernel(T* dx, const T* dy, int64_t count, int64_t n, int64_t width, int64_t used) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * N;
  if (first >= count) return;
  const int64_t column = first % n;
  Vec<T, N> out{};
  if (column < used) out = load_vector<T, N>(dy + first / n * width + column % width);
  store_vector(dx + first, out);
}

template <class T>
bool takes_vectors(const T* x, const T* y, int64_t n, int64_t width) {
  return n % kVector<T> == 0 && width % kVector<T> == 0 && is_aligned(x) && is_aligned(y);
}

template <class T>
void forward(T* y, const T* x, int64_t count, int64_t n, int64_t width) {
  const bool vectors = takes_vectors(x, y, n, width);
  launch(vectors ? forward_kernel<kVector<T>, T> : forward_kernel<1, T>,
         blocks_for(count, int64_t{kMapThreads} * (vectors ? kVector<T> : 1)), kMapThreads, 0,
         compute_stream(), y, x, count, n, width);
}

template <class T>
void backward(T* dx, const T* dy, int64_t count, int64_t n, int64_t width) {
  const bool vectors = takes_vectors<T>(dx, dy, n, width);
  launch(vectors ? backward_kernel<kVector<T>, T> : backward_kernel<1, T>,
         blocks_for(count, int64_t{kMapThreads} * (vectors ? kVector<T> : 1)), kMapThreads, 0,
         compute_stream(), dx, dy, count, n, width, n - n % width);
}

}  // namespace

void chunk_sum_forward(const Tensor& y, const Tensor& x) {
  dispatch_device_float(x.dtype(), "chunk_sum", [&]<class T>() {
    forward<T>(y.data<T>(), x.data<T>(), y.numel(), x.size(-1), y.size(-1));
  });
}

void chunk_sum_backward(const Tensor& dx, const Tensor& dy) {
  dispatch_device_float(dy.dtype(), "chunk_sum", [&]<class T>() {
    backward<T>(dx.data<T>(), dy.data<T>(), dx.numel(), dx.size(-1), dy.size(-1));
  });
}

}  // namespace tandem::cuda
