// Comparisons and where. Memory traffic at least: each element is read once and written once.
#include "tandem/ops/compare.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/ops/support/data_or_null.h"

namespace tandem::cuda {
namespace {

// b is repeated over a, whose last axes have `width` elements.
template <class T>
__global__ void __launch_bounds__(kMapThreads)
    compare_kernel(T* y, const T* a, const T* b, int64_t n, int64_t width, Comparison kind) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i >= n) return;
  y[i] = static_cast<T>(comparison_value(kind, a[i], b[i % width]));
}

template <class T>
__global__ void __launch_bounds__(kMapThreads)
    compare_number_kernel(T* y, const T* a, WithNumber<T> number, int64_t n, Comparison kind) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i < n) y[i] = static_cast<T>(comparison_value(kind, static_cast<WithNumber<T>>(a[i]), number));
}

// y = a where condition is not 0, else b; null for a or b stands for `number`.
template <class T, class M>
__global__ void __launch_bounds__(kMapThreads)
    select_kernel(T* y, const M* condition, const T* a, const T* b, T number, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i >= n) return;
  const T* const chosen = condition[i] != 0 ? a : b;
  y[i] = chosen ? chosen[i] : number;
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
             static_cast<WithNumber<T>>(number), n, kind);
  });
}

void select(const Tensor& y, const Tensor& condition, const Tensor& a, const Tensor& b, double number) {
  const int64_t n = y.numel();
  dispatch_device_float(y.dtype(), "where", [&]<class T>() {
    dispatch_dtype(condition.dtype(), [&]<class M>() {
      launch(select_kernel<T, M>, blocks_for(n, kMapThreads), kMapThreads, 0, compute_stream(), y.data<T>(),
             condition.data<M>(), data_or_null<T>(a), data_or_null<T>(b), static_cast<T>(number), n);
    });
  });
}

}  // namespace tandem::cuda
