// softmax, row by row: the largest value is taken off first, so that no exponential overflows.
#include "ops/softmax.h"

#include <limits>

#include "autograd/tape.h"
#include "core/check.h"
#include "core/dispatch.h"
#include "core/macros.h"
#include "core/math.h"
#include "core/parallel.h"

namespace tandem {
namespace {

template <class T>
TANDEM_INLINE void forward_body(T* y, const T* x, int64_t n) {
  T largest = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) {
    y[i] = fast_exp(x[i] - largest);
    total += y[i];
  }
  const T factor = T(1) / total;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] *= factor;
}
TANDEM_SIMD void forward_row(float* y, const float* x, int64_t n) {
  forward_body(y, x, n);
}
TANDEM_SIMD void forward_row(double* y, const double* x, int64_t n) {
  forward_body(y, x, n);
}

// y = softmax(x):  dx = y (dy - sum(dy y)).
template <class T>
TANDEM_INLINE void backward_body(T* dx, const T* dy, const T* y, int64_t n) {
  T dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < n; ++i) dot += dy[i] * y[i];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) dx[i] = y[i] * (dy[i] - dot);
}
TANDEM_SIMD void backward_row(float* dx, const float* dy, const float* y, int64_t n) {
  backward_body(dx, dy, y, n);
}
TANDEM_SIMD void backward_row(double* dx, const double* dy, const double* y, int64_t n) {
  backward_body(dx, dy, y, n);
}

// The columns a row computes: all of them, or what a causal mask leaves.
struct AllColumns {
  int64_t width;
  int64_t begin(int64_t) const { return 0; }
  int64_t end(int64_t) const { return width; }
};

struct VisibleColumns {
  CausalMask mask;
  int64_t queries;
  int64_t begin(int64_t row) const { return mask.begin(row % queries); }
  int64_t end(int64_t row) const { return mask.end(row % queries); }
};

template <class T, class Columns>
void forward_rows(T* y, const T* x, int64_t rows, int64_t width, Columns columns) {
  cpu::for_rows(rows, width, [y, x, width, columns](int64_t row, int64_t last) {
    for (; row < last; ++row) {
      T* out = y + row * width;
      const int64_t begin = columns.begin(row), end = columns.end(row);
      std::fill(out, out + begin, T(0));
      forward_row(out + begin, x + row * width + begin, end - begin);
      std::fill(out + end, out + width, T(0));
    }
  });
}

template <class T, class Columns>
void backward_rows(T* dx, const T* dy, const T* y, int64_t rows, int64_t width, Columns columns) {
  cpu::for_rows(rows, width, [dx, dy, y, width, columns](int64_t row, int64_t last) {
    for (; row < last; ++row) {
      T* out = dx + row * width;
      const int64_t begin = columns.begin(row), end = columns.end(row), at = row * width + begin;
      std::fill(out, out + begin, T(0));
      backward_row(out + begin, dy + at, y + at, end - begin);
      std::fill(out + end, out + width, T(0));
    }
  });
}

int64_t rows_of(const Tensor& x) {
  return x.numel() == 0 ? 0 : x.numel() / x.size(-1);
}

}  // namespace

namespace cpu {

void softmax_forward(const Tensor& y, const Tensor& x) {
  const AllColumns columns{x.size(-1)};
  dispatch_float(x.dtype(), "softmax",
                 [&]<class T>() { forward_rows(y.data<T>(), x.data<T>(), rows_of(x), x.size(-1), columns); });
}

void softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y) {
  const AllColumns columns{y.size(-1)};
  dispatch_float(y.dtype(), "softmax", [&]<class T>() {
    backward_rows(dx.data<T>(), dy.data<T>(), y.data<T>(), rows_of(y), y.size(-1), columns);
  });
}

void masked_softmax_forward(const Tensor& y, const Tensor& x, CausalMask mask) {
  const VisibleColumns columns{mask, x.size(-2)};
  dispatch_float(x.dtype(), "masked_softmax",
                 [&]<class T>() { forward_rows(y.data<T>(), x.data<T>(), rows_of(x), x.size(-1), columns); });
}

void masked_softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y, CausalMask mask) {
  const VisibleColumns columns{mask, y.size(-2)};
  dispatch_float(y.dtype(), "masked_softmax", [&]<class T>() {
    backward_rows(dx.data<T>(), dy.data<T>(), y.data<T>(), rows_of(y), y.size(-1), columns);
  });
}

}  // namespace cpu

Tensor softmax(const Tensor& x) {
  CHECK(x.rank() >= 1, "softmax: {} has no axis to go over", x.str());
  Tensor y = empty_like(x);
  DISPATCH(x.device(), softmax_forward(y, x));
  return record("softmax", y, {x}, [y](const Tensor& dy) -> Grads {
    Tensor dx = empty_like(y);
    DISPATCH(y.device(), softmax_backward(dx, dy, y));
    return {dx};
  });
}

Tensor masked_softmax(const Tensor& scores, CausalMask mask) {
  CHECK(mask.memory >= 0 && mask.window >= 0, "masked_softmax: memory {} and window {} must not be negative",
        mask.memory, mask.window);
  CHECK(scores.rank() >= 2 && scores.size(-1) == mask.memory + scores.size(-2),
        "masked_softmax: scores are {}, with a memory of {}; they must be (..., T, {} + T)", scores.str(),
        mask.memory, mask.memory);
  Tensor y = empty_like(scores);
  DISPATCH(scores.device(), masked_softmax_forward(y, scores, mask));
  return record("masked_softmax", y, {scores}, [y, mask](const Tensor& dy) -> Grads {
    Tensor dx = empty_like(y);
    DISPATCH(y.device(), masked_softmax_backward(dx, dy, y, mask));
    return {dx};
  });
}

}  // namespace tandem
