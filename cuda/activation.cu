// Elementwise functions of one input.
#include "tandem/ops/activation.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

template <Activation kind, class C>
struct Value {
  __device__ C operator()(int64_t, C x) const { return activation_value<kind>(x); }
};

template <Activation kind, class C>
struct Slope {
  __device__ C operator()(int64_t, C dy, C saved) const { return dy * activation_derivative<kind>(saved); }
};

template <template <Activation, class> class F, class T, class... In>
void run(Activation kind, T* y, int64_t n, const In*... xs) {
  using A = Activation;
  using C = Compute<T>;
  switch (kind) {
    case A::relu:
      return map(y, n, F<A::relu, C>(), xs...);
    case A::squared_relu:
      return map(y, n, F<A::squared_relu, C>(), xs...);
    case A::sigmoid:
      return map(y, n, F<A::sigmoid, C>(), xs...);
    case A::tanh:
      return map(y, n, F<A::tanh, C>(), xs...);
    case A::silu:
      return map(y, n, F<A::silu, C>(), xs...);
    case A::gelu_erf:
      return map(y, n, F<A::gelu_erf, C>(), xs...);
    case A::gelu_tanh:
      return map(y, n, F<A::gelu_tanh, C>(), xs...);
    case A::gelu_sigmoid1702:
      return map(y, n, F<A::gelu_sigmoid1702, C>(), xs...);
    case A::exp:
      return map(y, n, F<A::exp, C>(), xs...);
    case A::log:
      return map(y, n, F<A::log, C>(), xs...);
    case A::sqrt:
      return map(y, n, F<A::sqrt, C>(), xs...);
    case A::square:
      return map(y, n, F<A::square, C>(), xs...);
  }
}

}  // namespace

void activation_forward(const Tensor& y, const Tensor& x, Activation kind) {
  dispatch_device_float(x.dtype(), "activation",
                        [&]<class T>() { run<Value>(kind, y.data<T>(), y.numel(), x.data<T>()); });
}

void activation_backward(const Tensor& dx, const Tensor& dy, const Tensor& saved, Activation kind) {
  dispatch_device_float(dy.dtype(), "activation", [&]<class T>() {
    run<Slope>(kind, dx.data<T>(), dx.numel(), dy.data<T>(), saved.data<T>());
  });
}

}  // namespace tandem::cuda
