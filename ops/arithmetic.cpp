// arithmetic on the CPU. The backward functions call the same operators, which record nothing while a backward
// pass runs.
#include "tandem/ops/arithmetic.h"

#include "tandem/autograd/accumulate.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/support/check_operand.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

template <Arithmetic kind, class T>
TANDEM_INLINE void arithmetic_loop(T* y, const T* a, const T* b, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = arithmetic_value<kind>(a[i], b[i]);
}

template <class T>
TANDEM_INLINE void arithmetic_body(Arithmetic kind, T* y, const T* a, const T* b, int64_t n) {
  switch (kind) {
    case Arithmetic::add:
      return arithmetic_loop<Arithmetic::add>(y, a, b, n);
    case Arithmetic::sub:
      return arithmetic_loop<Arithmetic::sub>(y, a, b, n);
    case Arithmetic::mul:
      return arithmetic_loop<Arithmetic::mul>(y, a, b, n);
    case Arithmetic::div:
      return arithmetic_loop<Arithmetic::div>(y, a, b, n);
  }
}

TANDEM_SIMD void arithmetic_row(Arithmetic kind, float* y, const float* a, const float* b, int64_t n) {
  arithmetic_body(kind, y, a, b, n);
}
TANDEM_SIMD void arithmetic_row(Arithmetic kind, double* y, const double* a, const double* b, int64_t n) {
  arithmetic_body(kind, y, a, b, n);
}

template <class T>
TANDEM_INLINE void scale_body(T* y, const T* x, T factor, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * factor;
}
TANDEM_SIMD void scale_row(float* y, const float* x, float factor, int64_t n) {
  scale_body(y, x, factor, n);
}
TANDEM_SIMD void scale_row(double* y, const double* x, double factor, int64_t n) {
  scale_body(y, x, factor, n);
}

void check_operands(const char* name, const Tensor& a, const Tensor& b) {
  check_defined(name, {{"a", a}, {"b", b}});
  check_floating(name, {{"a", a}});
  check_repeatable(name, a, b, b.dtype() == a.dtype() ? a.dtype() : parameter_dtype(a.dtype()));
}

Tensor value(const Tensor& a, const Tensor& b, Arithmetic kind) {
  Tensor y = empty_like(a);
  TANDEM_DISPATCH(a.device(), arithmetic(y, a, b, kind));
  return y;
}

// Returns b if it is repeated over a or has another dtype, as sum_of_repeats() needs it; else an undefined
// tensor.
Tensor if_repeated(const Tensor& b, const Tensor& a) {
  return b.shape() == a.shape() && b.dtype() == a.dtype() ? Tensor() : b;
}

// Returns the gradient of b, which was repeated over the leading axes of a: `sign` times the sum of d over the
// repetitions. Returns d itself, or -d, if b is undefined, that is if it was not repeated.
Tensor sum_of_repeats(const Tensor& d, const Tensor& b, double sign = 1) {
  if (!b.defined()) return sign == 1 ? d : scale(d, sign);
  const GradTarget db = grad_target(b);
  const int64_t width = b.numel();
  TANDEM_DISPATCH(d.device(),
                  sum_axis(db.grad, d, {1, width > 0 ? d.numel() / width : 0, width}, sign, db.accumulate));
  return db.grad;
}

}  // namespace

namespace cpu {

void arithmetic(const Tensor& y, const Tensor& a, const Tensor& b, Arithmetic kind) {
  dispatch_float(y.dtype(), "arithmetic", [&]<class T>() {
    T* out = y.data<T>();
    const T* left = a.data<T>();
    const T* right = b.data<T>();
    const int64_t width = b.numel();
    if (width == y.numel()) {
      for_elements(width, [kind, out, left, right](int64_t i, int64_t end) {
        arithmetic_row(kind, out + i, left + i, right + i, end - i);
      });
    } else {
      for_rows(y.numel() / width, width, [kind, out, left, right, width](int64_t row, int64_t end) {
        for (int64_t i = row * width; i < end * width; i += width)
          arithmetic_row(kind, out + i, left + i, right, width);
      });
    }
  });
}

void scale(const Tensor& y, const Tensor& x, double factor) {
  dispatch_float(y.dtype(), "scale", [&]<class T>() {
    T* out = y.data<T>();
    const T* in = x.data<T>();
    for_elements(x.numel(), [out, in, factor](int64_t i, int64_t end) {
      scale_row(out + i, in + i, static_cast<T>(factor), end - i);
    });
  });
}

}  // namespace cpu

// y = a + b:  da = dy, db = dy.
Tensor add(const Tensor& a, const Tensor& b) {
  check_operands("add", a, b);
  const bool b_needs = needs_grad(b);
  const Tensor repeated = if_repeated(b, a);
  return record("add", value(a, b, Arithmetic::add), {a, b}, [repeated, b_needs](const Tensor& dy) -> Grads {
    return {dy, b_needs ? sum_of_repeats(dy, repeated) : Tensor()};
  });
}

// y = a - b:  da = dy, db = -dy, summed over the repetitions of b.
Tensor sub(const Tensor& a, const Tensor& b) {
  check_operands("sub", a, b);
  const bool b_needs = needs_grad(b);
  const Tensor repeated = if_repeated(b, a);
  return record("sub", value(a, b, Arithmetic::sub), {a, b}, [repeated, b_needs](const Tensor& dy) -> Grads {
    return {dy, b_needs ? sum_of_repeats(dy, repeated, -1) : Tensor()};
  });
}

// y = a b:  da = dy b, db = dy a, summed over the repetitions of b.
Tensor mul(const Tensor& a, const Tensor& b) {
  check_operands("mul", a, b);
  const Tensor saved_a = needs_grad(b) ? a : Tensor();
  const Tensor saved_b = needs_grad(a) ? b : Tensor();
  const Tensor repeated = if_repeated(b, a);
  return record("mul", value(a, b, Arithmetic::mul), {a, b},
                [saved_a, saved_b, repeated](const Tensor& dy) -> Grads {
                  return {saved_b.defined() ? mul(dy, saved_b) : Tensor(),
                          saved_a.defined() ? sum_of_repeats(mul(dy, saved_a), repeated) : Tensor()};
                });
}

// y = a / b:  da = dy / b, db = -dy y / b, summed over the repetitions of b.
Tensor div(const Tensor& a, const Tensor& b) {
  check_operands("div", a, b);
  const Tensor y = value(a, b, Arithmetic::div);
  const Tensor saved_y = needs_grad(b) ? y : Tensor();
  const Tensor repeated = if_repeated(b, a);
  return record("div", y, {a, b}, [b, saved_y, repeated](const Tensor& dy) -> Grads {
    const Tensor da = div(dy, b);
    return {da, saved_y.defined() ? sum_of_repeats(mul(da, saved_y), repeated, -1) : Tensor()};
  });
}

// y = factor x:  dx = factor dy.
Tensor scale(const Tensor& x, double factor) {
  check_floating("scale", {{"x", x}});
  Tensor y = empty_like(x);
  TANDEM_DISPATCH(x.device(), scale(y, x, factor));
  return record("scale", y, {x}, [factor](const Tensor& dy) -> Grads { return {scale(dy, factor)}; });
}

Tensor neg(const Tensor& x) {
  check_floating("neg", {{"x", x}});
  return scale(x, -1);
}

}  // namespace tandem
