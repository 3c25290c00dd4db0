// Elementwise functions of one input and up to two numbers.
#include "tandem/ops/elementwise.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

template <Elementwise kind, class C>
struct Value {
  C a, b;
  __device__ C operator()(int64_t, C x) const { return elementwise_value<kind>(x, a, b); }
};

template <Elementwise kind, class C>
struct Slope {
  C a, b;
  __device__ C operator()(int64_t, C dy, C x) const { return dy * elementwise_derivative<kind>(x, a, b); }
};

template <template <Elementwise, class> class F, class T, class... In>
void run(Elementwise kind, double a, double b, T* y, int64_t n, const In*... xs) {
  using E = Elementwise;
  using C = Compute<T>;
  const C first = static_cast<C>(a), second = static_cast<C>(b);
  switch (kind) {
    case E::add_number:
      return map(y, n, F<E::add_number, C>{first, second}, xs...);
    case E::subtract_from:
      return map(y, n, F<E::subtract_from, C>{first, second}, xs...);
    case E::divide_by:
      return map(y, n, F<E::divide_by, C>{first, second}, xs...);
    case E::abs:
      return map(y, n, F<E::abs, C>{first, second}, xs...);
    case E::clamp:
      return map(y, n, F<E::clamp, C>{first, second}, xs...);
    case E::pow:
      return map(y, n, F<E::pow, C>{first, second}, xs...);
    case E::softplus:
      return map(y, n, F<E::softplus, C>{first, second}, xs...);
  }
}

}  // namespace

void elementwise_forward(const Tensor& y, const Tensor& x, Elementwise kind, double a, double b) {
  dispatch_device_float(x.dtype(), "elementwise",
                        [&]<class T>() { run<Value>(kind, a, b, y.data<T>(), y.numel(), x.data<T>()); });
}

void elementwise_backward(const Tensor& dx, const Tensor& dy, const Tensor& x, Elementwise kind, double a,
                          double b) {
  dispatch_device_float(dy.dtype(), "elementwise", [&]<class T>() {
    run<Slope>(kind, a, b, dx.data<T>(), dx.numel(), dy.data<T>(), x.data<T>());
  });
}

}  // namespace tandem::cuda
