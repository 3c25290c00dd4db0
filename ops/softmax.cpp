// softmax on the CPU, row by row. From the inside out: softmax_body() is the arithmetic of one row,
// softmax_row() the same compiled for each instruction set, softmax_rows() the loop over all rows, and the
// kernels choose columns and dtype.
#include "tandem/ops/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/math.h"
#include "tandem/core/parallel.h"

namespace tandem {
namespace {

template <class T>
TANDEM_INLINE T largest_of(const T* x, int64_t n) {
  T largest = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

// y = exp(x - max x) / sum exp(x - max x). Subtracting the largest value changes nothing, but no exponential
// overflows.
template <class T>
TANDEM_INLINE void softmax_body(T* y, const T* x, int64_t n) {
  const T largest = largest_of(x, n);
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
TANDEM_SIMD void softmax_row(float* y, const float* x, int64_t n) {
  softmax_body(y, x, n);
}
TANDEM_SIMD void softmax_row(double* y, const double* x, int64_t n) {
  softmax_body(y, x, n);
}

// y = softmax(x):  dx = y (dy - sum(dy y)).
template <class T>
TANDEM_INLINE void softmax_backward_body(T* dx, const T* dy, const T* y, int64_t n) {
  T dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < n; ++i) dot += dy[i] * y[i];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) dx[i] = y[i] * (dy[i] - dot);
}
TANDEM_SIMD void softmax_backward_row(float* dx, const float* dy, const float* y, int64_t n) {
  softmax_backward_body(dx, dy, y, n);
}
TANDEM_SIMD void softmax_backward_row(double* dx, const double* dy, const double* y, int64_t n) {
  softmax_backward_body(dx, dy, y, n);
}

// y = (x - max x) - log sum exp(x - max x).
template <class T>
TANDEM_INLINE void log_softmax_body(T* y, const T* x, int64_t n) {
  const T largest = largest_of(x, n);
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) total += fast_exp(x[i] - largest);
  const T shift = std::log(total);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - largest) - shift;
}
TANDEM_SIMD void log_softmax_row(float* y, const float* x, int64_t n) {
  log_softmax_body(y, x, n);
}
TANDEM_SIMD void log_softmax_row(double* y, const double* x, int64_t n) {
  log_softmax_body(y, x, n);
}

// y = log softmax(x):  dx = dy - exp(y) sum(dy).
template <class T>
TANDEM_INLINE void log_softmax_backward_body(T* dx, const T* dy, const T* y, int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += dy[i];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] - fast_exp(y[i]) * sum;
}
TANDEM_SIMD void log_softmax_backward_row(float* dx, const float* dy, const float* y, int64_t n) {
  log_softmax_backward_body(dx, dy, y, n);
}
TANDEM_SIMD void log_softmax_backward_row(double* dx, const double* dy, const double* y, int64_t n) {
  log_softmax_backward_body(dx, dy, y, n);
}

// The columns that a row computes: all of them, or those that a causal mask lets through. The others are 0.
struct Columns {
  int64_t begin, end;
};
auto all_columns(const Tensor& x) {
  return [width = x.size(-1)](int64_t) { return Columns{0, width}; };
}
auto visible_columns(const Tensor& x, CausalMask mask) {
  return [mask, queries = x.size(-2)](int64_t row) {
    return Columns{mask.begin(row % queries), mask.end(row % queries)};
  };
}

int64_t rows_of(const Tensor& x) {
  return x.numel() == 0 ? 0 : x.numel() / x.size(-1);
}

template <class T, class ColumnsOf>
void softmax_rows(const Tensor& y, const Tensor& x, const ColumnsOf& columns_of) {
  const int64_t width = x.size(-1);
  T* const y_data = y.data<T>();
  const T* const x_data = x.data<T>();
  cpu::for_rows(rows_of(x), width, [y_data, x_data, width, &columns_of](int64_t row, int64_t last) {
    for (; row < last; ++row) {
      T* out = y_data + row * width;
      const auto [begin, end] = columns_of(row);
      std::fill(out, out + begin, T(0));
      softmax_row(out + begin, x_data + row * width + begin, end - begin);
      std::fill(out + end, out + width, T(0));
    }
  });
}

template <class T, class ColumnsOf>
void softmax_backward_rows(const Tensor& dx, const Tensor& dy, const Tensor& y, const ColumnsOf& columns_of) {
  const int64_t width = y.size(-1);
  T* const dx_data = dx.data<T>();
  const T *const dy_data = dy.data<T>(), *const y_data = y.data<T>();
  cpu::for_rows(rows_of(y), width, [dx_data, dy_data, y_data, width, &columns_of](int64_t row, int64_t last) {
    for (; row < last; ++row) {
      T* out = dx_data + row * width;
      const auto [begin, end] = columns_of(row);
      const int64_t first = row * width + begin;
      std::fill(out, out + begin, T(0));
      softmax_backward_row(out + begin, dy_data + first, y_data + first, end - begin);
      std::fill(out + end, out + width, T(0));
    }
  });
}

}  // namespace

namespace cpu {

void softmax_forward(const Tensor& y, const Tensor& x) {
  dispatch_float(x.dtype(), "softmax", [&]<class T>() { softmax_rows<T>(y, x, all_columns(x)); });
}

void softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y) {
  dispatch_float(y.dtype(), "softmax",
                 [&]<class T>() { softmax_backward_rows<T>(dx, dy, y, all_columns(y)); });
}

void log_softmax_forward(const Tensor& y, const Tensor& x) {
  dispatch_float(x.dtype(), "log_softmax", [&]<class T>() {
    T* const out = y.data<T>();
    const T* const in = x.data<T>();
    const int64_t width = x.size(-1);
    for_rows(rows_of(x), width, [out, in, width](int64_t row, int64_t end) {
      for (; row < end; ++row) log_softmax_row(out + row * width, in + row * width, width);
    });
  });
}

void log_softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y) {
  dispatch_float(y.dtype(), "log_softmax", [&]<class T>() {
    T* const out = dx.data<T>();
    const T *const gradient = dy.data<T>(), *const logarithm = y.data<T>();
    const int64_t width = y.size(-1);
    for_rows(rows_of(y), width, [out, gradient, logarithm, width](int64_t row, int64_t end) {
      for (; row < end; ++row)
        log_softmax_backward_row(out + row * width, gradient + row * width, logarithm + row * width, width);
    });
  });
}

void masked_softmax_forward(const Tensor& y, const Tensor& x, CausalMask mask) {
  dispatch_float(x.dtype(), "masked_softmax",
                 [&]<class T>() { softmax_rows<T>(y, x, visible_columns(x, mask)); });
}

void masked_softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y, CausalMask mask) {
  dispatch_float(y.dtype(), "masked_softmax",
                 [&]<class T>() { softmax_backward_rows<T>(dx, dy, y, visible_columns(y, mask)); });
}

}  // namespace cpu

Tensor softmax(const Tensor& x) {
  check_floating("softmax", {{"x", x}});
  TANDEM_CHECK(x.rank() >= 1, "softmax: x is {}, which has no axis to go over", x.summary());
  Tensor y = empty_like(x);
  TANDEM_DISPATCH(x.device(), softmax_forward(y, x));
  return record("softmax", y, {x}, [y](const Tensor& dy) -> Grads {
    Tensor dx = empty_like(y);
    TANDEM_DISPATCH(y.device(), softmax_backward(dx, dy, y));
    return {dx};
  });
}

Tensor log_softmax(const Tensor& x) {
  check_floating("log_softmax", {{"x", x}});
  TANDEM_CHECK(x.rank() >= 1, "log_softmax: x is {}, which has no axis to go over", x.summary());
  Tensor y = empty_like(x);
  TANDEM_DISPATCH(x.device(), log_softmax_forward(y, x));
  return record("log_softmax", y, {x}, [y](const Tensor& dy) -> Grads {
    Tensor dx = empty_like(y);
    TANDEM_DISPATCH(y.device(), log_softmax_backward(dx, dy, y));
    return {dx};
  });
}

Tensor masked_softmax(const Tensor& scores, CausalMask mask) {
  check_floating("masked_softmax", {{"scores", scores}});
  TANDEM_CHECK(mask.memory >= 0 && mask.window >= 0,
               "masked_softmax: mask.memory {} and mask.window {} must not be negative", mask.memory,
               mask.window);
  TANDEM_CHECK(scores.rank() >= 2 && scores.size(-1) == mask.memory + scores.size(-2),
               "masked_softmax: scores are {}, with a memory of {}; they must be (..., T, {} + T)",
               scores.summary(), mask.memory, mask.memory);
  Tensor y = empty_like(scores);
  TANDEM_DISPATCH(scores.device(), masked_softmax_forward(y, scores, mask));
  return record("masked_softmax", y, {scores}, [y, mask](const Tensor& dy) -> Grads {
    Tensor dx = empty_like(y);
    TANDEM_DISPATCH(y.device(), masked_softmax_backward(dx, dy, y, mask));
    return {dx};
  });
}

}  // namespace tandem
