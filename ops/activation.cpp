// activation on the CPU: one loop forward and one backward, with the function chosen outside the loop.
#include "tandem/ops/activation.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"

namespace tandem {
namespace {

// Calls f.run<kind>(). The choice is made once for a block of elements, so that the loop inside is compiled for
// one kind.
template <class F>
TANDEM_INLINE void choose(Activation kind, const F& f) {
  using A = Activation;
  switch (kind) {
    case A::relu:
      return f.template run<A::relu>();
    case A::squared_relu:
      return f.template run<A::squared_relu>();
    case A::sigmoid:
      return f.template run<A::sigmoid>();
    case A::tanh:
      return f.template run<A::tanh>();
    case A::silu:
      return f.template run<A::silu>();
    case A::gelu_erf:
      return f.template run<A::gelu_erf>();
    case A::gelu_tanh:
      return f.template run<A::gelu_tanh>();
    case A::gelu_sigmoid1702:
      return f.template run<A::gelu_sigmoid1702>();
    case A::exp:
      return f.template run<A::exp>();
    case A::log:
      return f.template run<A::log>();
    case A::sqrt:
      return f.template run<A::sqrt>();
    case A::square:
      return f.template run<A::square>();
  }
}

template <class T>
struct Values {
  T* y;
  const T* x;
  int64_t n;

  template <Activation kind>
  TANDEM_INLINE void run() const {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = activation_value<kind>(x[i]);
  }
};

template <class T>
struct Derivatives {
  T* dx;
  const T* dy;
  const T* saved;
  int64_t n;

  template <Activation kind>
  TANDEM_INLINE void run() const {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * activation_derivative<kind>(saved[i]);
  }
};

TANDEM_SIMD void forward_row(Activation kind, float* y, const float* x, int64_t n) {
  choose(kind, Values<float>{y, x, n});
}
TANDEM_SIMD void forward_row(Activation kind, double* y, const double* x, int64_t n) {
  choose(kind, Values<double>{y, x, n});
}
TANDEM_SIMD void backward_row(Activation kind, float* dx, const float* dy, const float* saved, int64_t n) {
  choose(kind, Derivatives<float>{dx, dy, saved, n});
}
TANDEM_SIMD void backward_row(Activation kind, double* dx, const double* dy, const double* saved, int64_t n) {
  choose(kind, Derivatives<double>{dx, dy, saved, n});
}

const char* name_of_activation(Activation kind) {
  constexpr const char* names[] = {"relu",      "squared_relu",     "sigmoid", "tanh", "silu", "gelu_erf",
                                   "gelu_tanh", "gelu_sigmoid1702", "exp",     "log",  "sqrt", "square"};
  return names[static_cast<int>(kind)];
}

}  // namespace

namespace cpu {

void activation_forward(const Tensor& y, const Tensor& x, Activation kind) {
  dispatch_float(x.dtype(), name_of_activation(kind), [&]<class T>() {
    T* out = y.data<T>();
    const T* in = x.data<T>();
    for_elements(x.numel(),
                 [kind, out, in](int64_t i, int64_t end) { forward_row(kind, out + i, in + i, end - i); });
  });
}

void activation_backward(const Tensor& dx, const Tensor& dy, const Tensor& saved, Activation kind) {
  dispatch_float(dy.dtype(), name_of_activation(kind), [&]<class T>() {
    T* out = dx.data<T>();
    const T* in = dy.data<T>();
    const T* kept = saved.data<T>();
    for_elements(dy.numel(), [kind, out, in, kept](int64_t i, int64_t end) {
      backward_row(kind, out + i, in + i, kept + i, end - i);
    });
  });
}

}  // namespace cpu

// y = f(x):  dx = dy f'(x).
Tensor activation(const Tensor& x, Activation kind) {
  check_floating(name_of_activation(kind), {{"x", x}});
  Tensor y = empty_like(x);
  TANDEM_DISPATCH(x.device(), activation_forward(y, x, kind));
  const Tensor saved = saves_output(kind) ? y : x;
  return record(name_of_activation(kind), y, {x}, [saved, kind](const Tensor& dy) -> Grads {
    Tensor dx = empty_like(dy);
    TANDEM_DISPATCH(dy.device(), activation_backward(dx, dy, saved, kind));
    return {dx};
  });
}

Tensor gelu(const Tensor& x, Gelu form) {
  check_floating("gelu", {{"x", x}});
  switch (form) {
    case Gelu::tanh:
      return activation(x, Activation::gelu_tanh);
    case Gelu::sigmoid1702:
      return activation(x, Activation::gelu_sigmoid1702);
    case Gelu::erf:
      break;
  }
  return activation(x, Activation::gelu_erf);
}

}  // namespace tandem
