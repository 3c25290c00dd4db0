// compare and where on the CPU: one loop each, over elements, or over rows where the second operand is repeated.
#include "tandem/ops/compare.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/support/check_operand.h"
#include "tandem/ops/support/data_or_null.h"

namespace tandem {
namespace {

const char* name_of_comparison(Comparison kind) {
  constexpr const char* names[] = {"equal", "not_equal", "greater", "greater_equal", "less", "less_equal"};
  return names[static_cast<int>(kind)];
}

// y = a (kind) b for n elements; b goes on by `step` elements, 0 or 1, at a time.
template <Comparison kind, class T, class B>
TANDEM_INLINE void compare_loop(T* y, const T* a, const B* b, int64_t step, int64_t n) {
  const T one = static_cast<T>(1), zero = static_cast<T>(0);
  if (step == 0) {
    const B right = *b;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = comparison_value(kind, static_cast<B>(a[i]), right) ? one : zero;
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = comparison_value(kind, static_cast<B>(a[i]), b[i]) ? one : zero;
  }
}

template <class T, class B>
TANDEM_INLINE void compare_body(Comparison kind, T* y, const T* a, const B* b, int64_t step, int64_t n) {
  switch (kind) {
    case Comparison::equal:
      return compare_loop<Comparison::equal>(y, a, b, step, n);
    case Comparison::not_equal:
      return compare_loop<Comparison::not_equal>(y, a, b, step, n);
    case Comparison::greater:
      return compare_loop<Comparison::greater>(y, a, b, step, n);
    case Comparison::greater_equal:
      return compare_loop<Comparison::greater_equal>(y, a, b, step, n);
    case Comparison::less:
      return compare_loop<Comparison::less>(y, a, b, step, n);
    case Comparison::less_equal:
      return compare_loop<Comparison::less_equal>(y, a, b, step, n);
  }
}
template <class T, class B>
void compare_row(Comparison kind, T* y, const T* a, const B* b, int64_t step, int64_t n) {
  compare_body(kind, y, a, b, step, n);
}
TANDEM_SIMD void compare_row(Comparison kind, float* y, const float* a, const float* b, int64_t step,
                             int64_t n) {
  compare_body(kind, y, a, b, step, n);
}
TANDEM_SIMD void compare_row(Comparison kind, double* y, const double* a, const double* b, int64_t step,
                             int64_t n) {
  compare_body(kind, y, a, b, step, n);
}

template <class T, class B>
void compare_all(Comparison kind, T* y, const T* a, const B* b, int64_t n, int64_t width) {
  if (width == 1 || width == n) {
    const int64_t step = width == 1 ? 0 : 1;
    cpu::for_elements(n, [kind, y, a, b, step](int64_t i, int64_t end) {
      compare_row(kind, y + i, a + i, b + step * i, step, end - i);
    });
  } else if (width > 0) {
    cpu::for_rows(n / width, width, [kind, y, a, b, width](int64_t row, int64_t end) {
      for (int64_t i = row * width; i < end * width; i += width) compare_row(kind, y + i, a + i, b, 1, width);
    });
  }
}

template <class T, class M>
TANDEM_INLINE void select_body(T* y, const M* condition, const T* a, const T* b, T number, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = condition[i] != 0 ? (a ? a[i] : number) : (b ? b[i] : number);
}
template <class T, class M>
void select_row(T* y, const M* condition, const T* a, const T* b, T number, int64_t n) {
  select_body(y, condition, a, b, number, n);
}
TANDEM_SIMD void select_row(float* y, const float* condition, const float* a, const float* b, float number,
                            int64_t n) {
  select_body(y, condition, a, b, number, n);
}
TANDEM_SIMD void select_row(double* y, const double* condition, const double* a, const double* b,
                            double number, int64_t n) {
  select_body(y, condition, a, b, number, n);
}

Tensor selected(const Tensor& condition, const Tensor& a, const Tensor& b, double number) {
  const Tensor y = empty_like(a.defined() ? a : b);
  TANDEM_DISPATCH(y.device(), select(y, condition, a, b, number));
  return y;
}

// Checks the operands of where(); b is undefined if it is a number.
void check_choice(const Tensor& condition, const Tensor& a, const Tensor& b) {
  check_defined("where", {{"condition", condition}});
  check_floating("where", {{"a", a}});
  TANDEM_CHECK(condition.shape() == a.shape() && condition.device() == a.device(),
               "where: condition is {}, a is {}; they must have one shape and device", condition.summary(),
               a.summary());
  TANDEM_CHECK(!b.defined() || (b.shape() == a.shape() && b.dtype() == a.dtype() && b.device() == a.device()),
               "where: a is {}, b is {}; they must have one shape, dtype and device", a.summary(),
               b.summary());
}

}  // namespace

namespace cpu {

void compare(const Tensor& y, const Tensor& a, const Tensor& b, double number, Comparison kind) {
  dispatch_dtype(a.dtype(), [&]<class T>() {
    if (b.defined()) return compare_all(kind, y.data<T>(), a.data<T>(), b.data<T>(), a.numel(), b.numel());
    const auto right = static_cast<WithNumber<T>>(number);
    compare_all(kind, y.data<T>(), a.data<T>(), &right, a.numel(), 1);
  });
}

void select(const Tensor& y, const Tensor& condition, const Tensor& a, const Tensor& b, double number) {
  dispatch_float(y.dtype(), "where", [&]<class T>() {
    T* out = y.data<T>();
    const T *left = data_or_null<T>(a), *right = data_or_null<T>(b);
    dispatch_dtype(condition.dtype(), [&]<class M>() {
      const M* choice = condition.data<M>();
      for_elements(y.numel(), [out, choice, left, right, number](int64_t i, int64_t end) {
        select_row(out + i, choice + i, left ? left + i : left, right ? right + i : right,
                   static_cast<T>(number), end - i);
      });
    });
  });
}

}  // namespace cpu

Tensor compare(const Tensor& a, const Tensor& b, Comparison kind) {
  const char* const name = name_of_comparison(kind);
  check_defined(name, {{"a", a}, {"b", b}});
  check_repeatable(name, a, b, a.dtype());
  const Tensor y = empty_like(a);
  TANDEM_DISPATCH(a.device(), compare(y, a, b, 0, kind));
  return y;
}

Tensor compare(const Tensor& a, double number, Comparison kind) {
  check_defined(name_of_comparison(kind), {{"a", a}});
  const Tensor y = empty_like(a);
  TANDEM_DISPATCH(a.device(), compare(y, a, Tensor(), number, kind));
  return y;
}

// y = a where c, else b:  da = dy where c, else 0;  db = 0 where c, else dy.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  check_floating("where", {{"b", b}});
  check_choice(condition, a, b);
  const bool wants_a = needs_grad(a), wants_b = needs_grad(b);
  return record("where", selected(condition, a, b, 0), {a, b},
                [condition, wants_a, wants_b](const Tensor& dy) -> Grads {
                  return {wants_a ? selected(condition, dy, Tensor(), 0) : Tensor(),
                          wants_b ? selected(condition, Tensor(), dy, 0) : Tensor()};
                });
}

Tensor where(const Tensor& condition, const Tensor& a, double b) {
  check_choice(condition, a, Tensor());
  return record("where", selected(condition, a, Tensor(), b), {a},
                [condition](const Tensor& dy) -> Grads { return {selected(condition, dy, Tensor(), 0)}; });
}

}  // namespace tandem
