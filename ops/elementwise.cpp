// elementwise on the CPU: one loop forward and one backward, with the function chosen outside the loop.
#include "tandem/ops/elementwise.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"

namespace tandem {
namespace {

const char* name_of_elementwise(Elementwise kind) {
  constexpr const char* names[] = {"add_number", "subtract_from", "divide_by", "abs",
                                   "clamp",      "pow",           "softplus"};
  return names[static_cast<int>(kind)];
}

// Calls f.run<kind>().
template <class F>
TANDEM_INLINE void choose(Elementwise kind, const F& f) {
  using E = Elementwise;
  switch (kind) {
    case E::add_number:
      return f.template run<E::add_number>();
    case E::subtract_from:
      return f.template run<E::subtract_from>();
    case E::divide_by:
      return f.template run<E::divide_by>();
    case E::abs:
      return f.template run<E::abs>();
    case E::clamp:
      return f.template run<E::clamp>();
    case E::pow:
      return f.template run<E::pow>();
    case E::softplus:
      return f.template run<E::softplus>();
  }
}

template <class T>
struct Values {
  T* y;
  const T* x;
  int64_t n;
  T a, b;

  template <Elementwise kind>
  TANDEM_INLINE void run() const {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = elementwise_value<kind>(x[i], a, b);
  }
};

template <class T>
struct Derivatives {
  T* dx;
  const T* dy;
  const T* x;
  int64_t n;
  T a, b;

  template <Elementwise kind>
  TANDEM_INLINE void run() const {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * elementwise_derivative<kind>(x[i], a, b);
  }
};

TANDEM_SIMD void run_values(Elementwise kind, const Values<float>& row) {
  choose(kind, row);
}
TANDEM_SIMD void run_values(Elementwise kind, const Values<double>& row) {
  choose(kind, row);
}
TANDEM_SIMD void run_derivatives(Elementwise kind, const Derivatives<float>& row) {
  choose(kind, row);
}
TANDEM_SIMD void run_derivatives(Elementwise kind, const Derivatives<double>& row) {
  choose(kind, row);
}

}  // namespace

namespace cpu {

void elementwise_forward(const Tensor& y, const Tensor& x, Elementwise kind, double a, double b) {
  dispatch_float(x.dtype(), name_of_elementwise(kind), [&]<class T>() {
    T* out = y.data<T>();
    const T* in = x.data<T>();
    for_elements(x.numel(), [kind, out, in, a, b](int64_t i, int64_t end) {
      run_values(kind, Values<T>{out + i, in + i, end - i, static_cast<T>(a), static_cast<T>(b)});
    });
  });
}

void elementwise_backward(const Tensor& dx, const Tensor& dy, const Tensor& x, Elementwise kind, double a,
                          double b) {
  dispatch_float(dy.dtype(), name_of_elementwise(kind), [&]<class T>() {
    T* out = dx.data<T>();
    const T* gradient = dy.data<T>();
    const T* in = x.data<T>();
    for_elements(dy.numel(), [kind, out, gradient, in, a, b](int64_t i, int64_t end) {
      run_derivatives(
          kind, Derivatives<T>{out + i, gradient + i, in + i, end - i, static_cast<T>(a), static_cast<T>(b)});
    });
  });
}

}  // namespace cpu

// y = f(x; a, b):  dx = dy f'(x; a, b).
Tensor elementwise(const Tensor& x, Elementwise kind, double a, double b) {
  const char* const name = name_of_elementwise(kind);
  check_floating(name, {{"x", x}});
  if (kind == Elementwise::clamp)
    TANDEM_CHECK(
        a <= b, "clamp: low is {} and high {}; low must not be the larger one, and neither may be NaN", a, b);
  TANDEM_CHECK(!std::isnan(a) && !std::isnan(b), "{}: the {} is NaN; give a number", name,
               kind == Elementwise::pow ? "exponent" : "number");
  Tensor y = empty_like(x);
  TANDEM_DISPATCH(x.device(), elementwise_forward(y, x, kind, a, b));
  return record(name, y, {x}, [x, kind, a, b](const Tensor& dy) -> Grads {
    Tensor dx = empty_like(dy);
    TANDEM_DISPATCH(dy.device(), elementwise_backward(dx, dy, x, kind, a, b));
    return {dx};
  });
}

}  // namespace tandem
