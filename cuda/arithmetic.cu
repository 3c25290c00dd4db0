// Elementwise arithmetic of two tensors, the smaller one repeated, and scaling. Memory traffic at least: each
// element is read once and written once.
#include "tandem/ops/arithmetic.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

template <Arithmetic kind, class C>
struct Value {
  __device__ C operator()(int64_t, C a, C b) const { return arithmetic_value<kind>(a, b); }
};

template <class C>
struct Scaled {
  C factor;
  __device__ C operator()(int64_t, C x) const { return x * factor; }
};

// A thread computes N elements, all in one repetition of b, since N divides the width of b.
template <int N, Arithmetic kind, class T, class B>
__global__ void __launch_bounds__(kMapThreads)
    repeated_kernel(T* y, const T* a, const B* b, int64_t n, int64_t width) {
  using C = Compute<T>;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * N;
  if (first >= n) return;
  const Vec<T, N> left = load_vector<T, N>(a + first);
  const Vec<B, N> right = load_vector<B, N>(b + first % width);
  Vec<T, N> out;
#pragma unroll
  for (int k = 0; k < N; ++k)
    out.v[k] = static_cast<T>(arithmetic_value<kind>(static_cast<C>(left.v[k]), static_cast<C>(right.v[k])));
  store_vector(y + first, out);
}

template <Arithmetic kind, class T, class B>
void run(T* y, const T* a, const B* b, int64_t n, int64_t width) {
  constexpr int N = kVector<T>;
  if (width == n) return map(y, n, Value<kind, Compute<T>>(), a, b);
  const bool vectors = width % N == 0 && is_aligned(y) && is_aligned(a) && is_aligned(b, sizeof(Vec<B, N>));
  launch(vectors ? repeated_kernel<N, kind, T, B> : repeated_kernel<1, kind, T, B>,
         blocks_for(n, int64_t{kMapThreads} * (vectors ? N : 1)), kMapThreads, 0, compute_stream(), y, a, b,
         n, width);
}

template <class T, class B>
void run(Arithmetic kind, T* y, const T* a, const B* b, int64_t n, int64_t width) {
  switch (kind) {
    case Arithmetic::add:
      return run<Arithmetic::add>(y, a, b, n, width);
    case Arithmetic::sub:
      return run<Arithmetic::sub>(y, a, b, n, width);
    case Arithmetic::mul:
      return run<Arithmetic::mul>(y, a, b, n, width);
    case Arithmetic::div:
      return run<Arithmetic::div>(y, a, b, n, width);
  }
}

}  // namespace

void arithmetic(const Tensor& y, const Tensor& a, const Tensor& b, Arithmetic kind) {
  dispatch_device_float(y.dtype(), "arithmetic", [&]<class T>() {
    const auto with = [&](const auto* right) {
      run(kind, y.data<T>(), a.data<T>(), right, y.numel(), b.numel());
    };
    if (b.dtype() == y.dtype())
      with(b.data<T>());
    else
      with(b.data<Compute<T>>());
  });
}

void scale(const Tensor& y, const Tensor& x, double factor) {
  dispatch_device_float(y.dtype(), "scale", [&]<class T>() {
    map(y.data<T>(), y.numel(), Scaled<Compute<T>>{static_cast<Compute<T>>(factor)}, x.data<T>());
  });
}

}  // namespace tandem::cuda
