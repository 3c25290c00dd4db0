// transpose: tiles of 32 x 32 elements go through shared memory, so that reads and writes are contiguous. Where the
// exchanged axes are not followed by single elements, each element is copied by a thread of its own, in the order of y.
#include "tandem/ops/transpose.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

constexpr int kTile = 32, kRows = 8;

// inner is 1. A block takes one tile of one of the outer * middle matrices (first, second).
template <class T>
__global__ void __launch_bounds__(kTile* kRows)
    tile_kernel(T* y, const T* x, const TransposeSplit s, int64_t row_tiles, int64_t column_tiles) {
  __shared__ T tile[kTile][kTile + 1];  // the padding keeps columns in different banks
  const int64_t matrix = blockIdx.x / (row_tiles * column_tiles),
                at = blockIdx.x % (row_tiles * column_tiles);
  const int64_t outer = matrix / s.middle, m = matrix % s.middle;
  const int64_t i0 = at / column_tiles * kTile, j0 = at % column_tiles * kTile;
  const int lane = static_cast<int>(threadIdx.x), part = static_cast<int>(threadIdx.y);
  for (int r = part; r < kTile; r += kRows)
    if (i0 + r < s.first && j0 + lane < s.second)
      tile[r][lane] = x[((outer * s.first + i0 + r) * s.middle + m) * s.second + j0 + lane];
  __syncthreads();
  for (int r = part; r < kTile; r += kRows)
    if (j0 + r < s.second && i0 + lane < s.first)
      y[((outer * s.second + j0 + r) * s.middle + m) * s.first + i0 + lane] = tile[lane][r];
}

template <class T>
__global__ void __launch_bounds__(kMapThreads)
    element_kernel(T* y, const T* x, int64_t n, const TransposeSplit s) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (at >= n) return;
  int64_t rest = at / s.inner;
  const int64_t i = rest % s.first;
  rest /= s.first;
  const int64_t m = rest % s.middle;
  rest /= s.middle;
  const int64_t j = rest % s.second, outer = rest / s.second;
  y[at] = x[(((outer * s.first + i) * s.middle + m) * s.second + j) * s.inner + at % s.inner];
}

}  // namespace

void transpose(const Tensor& y, const Tensor& x, TransposeSplit s) {
  const int64_t n = x.numel();
  if (n == 0) return;
  dispatch_dtype(x.dtype(), [&]<class T>() {
    if (s.inner > 1)
      return launch(element_kernel<T>, blocks_for(n, kMapThreads), kMapThreads, 0, compute_stream(),
                    y.data<T>(), x.data<T>(), n, s);
    const int64_t row_tiles = (s.first + kTile - 1) / kTile, column_tiles = (s.second + kTile - 1) / kTile;
    launch(tile_kernel<T>, static_cast<unsigned>(s.outer * s.middle * row_tiles * column_tiles),
           dim3(kTile, kRows), 0, compute_stream(), y.data<T>(), x.data<T>(), s, row_tiles, column_tiles);
  });
}

}  // namespace tandem::cuda
