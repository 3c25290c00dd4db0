// Comparisons and where. Memory traffic at least: each element is read once and written once.
#include "tandem/ops/compare.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/ops/support/data_or_null.h"

namespace tandem::cuda {
namespace {

// What elements of T are compared in: integers as they are, so that no digit is lost.
template <class T>
using Compared = std::conditional_t<std::is_integral_v<T>, T, Compute<T>>;
// The same, for the comparison with a number.
template <class T>
using WithNumber = std::conditional_t<std::is_integral_v<T>, double, Compute<T>>;

template <class T>
__device__ __forceinline__ T truth(bool holds) {
  if constexpr (std::is_same_v<T, bf16>)
    return bf16(holds ? 1.0f : 0.0f);
  else
    return static_cast<T>(holds ? 1 : 0);
}

// b is repeated over a, whose last axes have `width` elements.
template <class T>
__global__ void __launch_bounds__(kMapThreads)
    compare_kernel(T* y, const T* a, const T* b, int64_t n, int64_t width, Comparison kind) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i >= n) return;
  using C = Compared<T>;
  y[i] = truth<T>(comparison_value(kind, static_cast<C>(a[i]), static_cast<C>(b[i % width])));
}

template <class T>
__global__ void __launch_bounds__(kMapThreads)
    compare_number_kernel(T* y, const T* a, WithNumber<T> number, int64_t n, Comparison kind) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i < n) y[i] = truth<T>(comparison_value(kind, static_cast<WithNumber<T>>(a[i]), number));
}

// Where a or b is null, it is `number`.
template <class T, class M>
__global__ void __launch_bounds__(kMapThreads)
    select_kernel(T* y, const M* condition, const T* a, const T* b, T number, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i >= n) return;
  const T* const chosen = static_cast<Compared<M>>(condition[i]) != Compared<M>(0) ? a : b;
  y[i] = chosen ? chosen[i] : number;
}

// Rounds a number to the dtype that it is compared in.
template <class T>
WithNumber<T> rounded(double number) {
  if constexpr (std::is_same_v<T, bf16>)
    return static_cast<float>(bf16(static_cast<float>(number)));
  else
    return static_cast<WithNumber<T>>(number);
}

}  // namespace

void compare(const Tensor& y, const Tensor& a, const Tensor& b, double number, Comparison kind) {
  const int64_t n = a.numel();
  const unsigned blocks = blocks_for(n, kMapThreads);
  dispatch_dtype(a.dtype(), [&]<class T>() {
    if (b.defined())
      launch(compare_kernel<T>, blocks, kMapThreads, 0, compute_stream(), y.data<T>(), a.data<T>(),
             b.data<T>(), n, b.numel(), kind);
    else
      launch(compare_number_kernel<T>, blocks, kMapThreads, 0, compute_stream(), y.data<T>(), a.data<T>(),
             rounded<T>(number), n, kind);
  });
}

void select(const Tensor& y, const Tensor& condition, const Tensor& a, const Tensor& b, double number) {
  const int64_t n = y.numel();
  dispatch_device_float(y.dtype(), "where", [&]<class T>() {
    dispatch_dtype(condition.dtype(), [&]<class M>() {
      launch(select_kernel<T, M>, blocks_for(n, kMapThreads), kMapThreads, 0, compute_stream(), y.data<T>(),
             condition.data<M>(), data_or_null<T>(a), data_or_null<T>(b),
             static_cast<T>(static_cast<Compute<T>>(number)), n);
    });
  });
}

}  // namespace tandem::cuda
