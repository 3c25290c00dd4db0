// snake: forward, backward and tape entry of an operator that is defined outside Tandem.
#include "snake.h"

#include <cmath>

#include "tandem/autograd/accumulate.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"

namespace prototype {
using namespace tandem;

namespace {

template <class T>
void forward(const Tensor& y, const Tensor& x, const Tensor& alpha) {
  const T* a = alpha.data<T>();
  const T* in = x.data<T>();
  T* out = y.data<T>();
  const int64_t width = alpha.numel(), n = x.numel();
  tandem::cpu::for_elements(n, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T f = a[i % width], s = std::sin(f * in[i]);
      out[i] = in[i] + s * s / f;
    }
  });
}

// With s = sin(alpha x):
//
//     dx = dy (1 + sin(2 alpha x))        dalpha = sum over rows of dy (x sin(2 alpha x) - s^2 / alpha) / alpha
//
// The threads share the channels, so that each sum is made by one thread, in one order.
template <class T>
void backward(const Tensor& dx, const Tensor& dalpha, const Tensor& dy, const Tensor& x,
              const Tensor& alpha) {
  const T* a = alpha.data<T>();
  const T* in = x.data<T>();
  const T* up = dy.data<T>();
  T* out = dx.data<T>();
  T* sum = dalpha.data<T>();
  const int64_t width = alpha.numel(), n = x.numel();
  tandem::cpu::parallel_for(width, n > kParallelGrain, [=](int64_t d) {
    for (int64_t i = d; i < n; i += width) {
      const T s = std::sin(a[d] * in[i]), twice = std::sin(2 * a[d] * in[i]);
      out[i] = up[i] * (1 + twice);
      sum[d] += up[i] * (in[i] * twice - s * s / a[d]) / a[d];
    }
  });
}

}  // namespace

void cpu::snake_forward(const Tensor& y, const Tensor& x, const Tensor& alpha) {
  dispatch_float(x.dtype(), "snake", [&]<class T>() { forward<T>(y, x, alpha); });
}
void cpu::snake_backward(const Tensor& dx, const Tensor& dalpha, const Tensor& dy, const Tensor& x,
                         const Tensor& alpha) {
  dispatch_float(x.dtype(), "snake", [&]<class T>() { backward<T>(dx, dalpha, dy, x, alpha); });
}

Tensor snake(const Tensor& x, const Tensor& alpha) {
  TANDEM_CHECK(x.rank() >= 1 && alpha.rank() == 1 && x.size(-1) == alpha.numel(),
               "snake: x is {}, alpha is {}; alpha needs one value for each of x's last axis", x.summary(),
               alpha.summary());
  TANDEM_CHECK(x.dtype() == alpha.dtype(), "snake: x is {}, alpha is {}; convert one of them", x.summary(),
               alpha.summary());
  Tensor y = empty_like(x);
  TANDEM_DISPATCH(x.device(), snake_forward(y, x, alpha));
  return record("snake", y, {x, alpha}, [x, alpha](const Tensor& dy) -> Grads {
    Tensor dx = empty_like(x);
    GradTarget dalpha = grad_target(alpha);  // a parameter's gradient is added to in place
    if (!dalpha.grad.defined()) dalpha.grad = empty_like(alpha);  // alpha needs none: computed and dropped
    if (!dalpha.accumulate) fill(dalpha.grad, 0);
    TANDEM_DISPATCH(x.device(), snake_backward(dx, dalpha.grad, dy, x, alpha));
    return {dx, dalpha.grad};
  });
}

}  // namespace prototype
