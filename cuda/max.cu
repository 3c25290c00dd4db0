// The largest element along an axis, and its place. A warp takes a row where the axis is the last one and long; else a
// thread takes a column. Memory traffic at least: each element is read once.
#include "tandem/ops/max.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

constexpr int kThreads = 128;

// An element in the type that it is compared in, and its place along the axis.
template <class C>
struct Candidate {
  C value;
  int32_t index;

  // Takes the other one if it is larger, or as large and before this one.
  __device__ __forceinline__ void take(C other, int32_t at) {
    if (exceeds(other, value) || (!exceeds(value, other) && at < index)) value = other, index = at;
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    columns_kernel(T* y, int32_t* index, const T* x, const AxisSplit s) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= s.outer * s.inner) return;
  const T* from = x + column / s.inner * s.count * s.inner + column % s.inner;
  Candidate<Compute<T>> best{static_cast<Compute<T>>(*from), 0};
  for (int64_t k = 1; k < s.count; ++k)
    best.take(static_cast<Compute<T>>(from[k * s.inner]), static_cast<int32_t>(k));
  y[column] = from[best.index * s.inner];
  index[column] = best.index;
}

// inner is 1 and count at least 32.
template <class T>
__global__ void __launch_bounds__(kThreads) rows_kernel(T* y, int32_t* index, const T* x, const AxisSplit s) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= s.outer) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const T* const from = x + row * s.count;
  Candidate<Compute<T>> best{static_cast<Compute<T>>(from[lane]), lane};
  for (int64_t k = lane + kWarp; k < s.count; k += kWarp)
    best.take(static_cast<Compute<T>>(from[k]), static_cast<int32_t>(k));
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const auto value = __shfl_xor_sync(0xffffffffu, best.value, distance);
    const auto at = __shfl_xor_sync(0xffffffffu, best.index, distance);
    best.take(value, at);
  }
  if (lane > 0) return;
  y[row] = from[best.index];
  index[row] = best.index;
}

template <class T>
__global__ void __launch_bounds__(kMapThreads)
    backward_kernel(T* dx, const T* dy, const int32_t* index, int64_t n, const AxisSplit s) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i >= n) return;
  const int64_t at = i / (s.count * s.inner) * s.inner + i % s.inner;
  dx[i] = index[at] == i / s.inner % s.count ? dy[at] : T{};
}

}  // namespace

void max_forward(const Tensor& y, const Tensor& index, const Tensor& x, AxisSplit s) {
  const bool rows = s.inner == 1 && s.count >= kWarp;
  dispatch_device_float(x.dtype(), "max", [&]<class T>() {
    launch(rows ? rows_kernel<T> : columns_kernel<T>,
           rows ? blocks_for(s.outer, kThreads / kWarp) : blocks_for(s.outer * s.inner, kThreads), kThreads,
           0, compute_stream(), y.data<T>(), index.data<int32_t>(), x.data<T>(), s);
  });
}

void max_backward(const Tensor& dx, const Tensor& dy, const Tensor& index, AxisSplit split) {
  const int64_t n = dx.numel();
  dispatch_device_float(dx.dtype(), "max", [&]<class T>() {
    launch(backward_kernel<T>, blocks_for(n, kMapThreads), kMapThreads, 0, compute_stream(), dx.data<T>(),
           dy.data<T>(), index.data<int32_t>(), n, split);
  });
}

}  // namespace tandem::cuda
