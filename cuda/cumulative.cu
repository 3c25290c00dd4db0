// Running sums along an axis. Memory traffic at least: each element is read once and written once.
//
// Where the axis is the last one and long, a warp takes a row: 32 elements at a time are combined in five steps of
// shuffles. Else a thread takes a column through the axis; neighbouring threads read neighbouring elements.
#include "tandem/ops/cumulative.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/ops/support/data_or_null.h"

namespace tandem::cuda {
namespace {

constexpr int kThreads = 128;

// Return the state of the lane that lies `delta` below.
__device__ __forceinline__ double from_below(double state, int delta) {
  return __shfl_up_sync(0xffffffffu, state, delta);
}
__device__ __forceinline__ ExponentialSum from_below(ExponentialSum state, int delta) {
  return {from_below(state.largest, delta), from_below(state.sum, delta)};
}
__device__ __forceinline__ WeightedSum from_below(WeightedSum state, int delta) {
  return {from_below(state.weight, delta), from_below(state.sum, delta)};
}
// Return the state of the last lane.
__device__ __forceinline__ double from_last(double state) {
  return __shfl_sync(0xffffffffu, state, kWarp - 1);
}
__device__ __forceinline__ ExponentialSum from_last(ExponentialSum state) {
  return {from_last(state.largest), from_last(state.sum)};
}
__device__ __forceinline__ WeightedSum from_last(WeightedSum state) {
  return {from_last(state.weight), from_last(state.sum)};
}

template <class Scan>
__global__ void __launch_bounds__(kThreads) columns_kernel(const Scan scan, const AxisSplit s, bool reverse) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= s.outer * s.inner) return;
  const int64_t step = reverse ? -s.inner : s.inner;
  int64_t i =
      column / s.inner * s.count * s.inner + column % s.inner + (reverse ? (s.count - 1) * s.inner : 0);
  typename Scan::State state = Scan::identity();
  for (int64_t k = 0; k < s.count; ++k, i += step) {
    state = Scan::combine(state, scan.load(i, -step, k == 0));
    scan.store(i, state);
  }
}

// inner is 1.
template <class Scan>
__global__ void __launch_bounds__(kThreads) rows_kernel(const Scan scan, const AxisSplit s, bool reverse) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= s.outer) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t step = reverse ? -1 : 1, first = row * s.count + (reverse ? s.count - 1 : 0);
  typename Scan::State carry = Scan::identity();
  for (int64_t begin = 0; begin < s.count; begin += kWarp) {
    const int64_t k = begin + lane, i = first + k * step;
    typename Scan::State state = k < s.count ? scan.load(i, -step, k == 0) : Scan::identity();
    for (int delta = 1; delta < kWarp; delta *= 2) {
      const typename Scan::State below = from_below(state, delta);
      if (lane >= delta) state = Scan::combine(below, state);
    }
    state = Scan::combine(carry, state);
    if (k < s.count) scan.store(i, state);
    carry = from_last(state);
  }
}

template <class Scan>
void run(const Scan& scan, AxisSplit s, bool reverse) {
  if (s.inner == 1 && s.count >= kWarp)
    launch(rows_kernel<Scan>, blocks_for(s.outer, kThreads / kWarp), kThreads, 0, compute_stream(), scan, s,
           reverse);
  else
    launch(columns_kernel<Scan>, blocks_for(s.outer * s.inner, kThreads), kThreads, 0, compute_stream(), scan,
           s, reverse);
}

}  // namespace

void cumsum(const Tensor& y, const Tensor& x, AxisSplit split, bool reverse) {
  dispatch_device_float(x.dtype(), "cumsum", [&]<class T>() {
    run(SumScan<T>{y.data<T>(), x.data<T>()}, split, reverse);
  });
}

void logcumsumexp_forward(const Tensor& y, const Tensor& lse, const Tensor& x, AxisSplit split) {
  dispatch_device_float(x.dtype(), "logcumsumexp", [&]<class T>() {
    run(LogSumScan<T>{y.data<T>(), data_or_null<double>(lse), x.data<T>()}, split, false);
  });
}

void logcumsumexp_backward(const Tensor& dx, const Tensor& dy, const Tensor& x, const Tensor& lse,
                           AxisSplit split) {
  dispatch_device_float(x.dtype(), "logcumsumexp", [&]<class T>() {
    run(LogSumGradientScan<T>{dx.data<T>(), dy.data<T>(), x.data<T>(), lse.data<double>()}, split, true);
  });
}

}  // namespace tandem::cuda
