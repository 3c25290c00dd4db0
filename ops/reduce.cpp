// reduce on the CPU: sums in f64 over fixed blocks, so that long sums stay exact and the number of threads does
// not matter.
#include "tandem/ops/reduce.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"

namespace tandem {
namespace {

constexpr int64_t kSumBlock = 1 << 13;  // elements of a contiguous sum that one thread adds up
constexpr int64_t kColumns = 128;       // columns summed together if the axis is not the last

template <class T>
TANDEM_INLINE double sum_body(const T* x, int64_t n) {
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) total += static_cast<double>(x[i]);
  return total;
}
TANDEM_SIMD double sum_row(const float* x, int64_t n) {
  return sum_body(x, n);
}
TANDEM_SIMD double sum_row(const double* x, int64_t n) {
  return sum_body(x, n);
}

template <class T>
TANDEM_INLINE void sum_columns_body(T* y, const T* x, int64_t rows, int64_t stride, int64_t width,
                                    double factor, bool accumulate) {
  double total[kColumns] = {};
  for (int64_t r = 0; r < rows; ++r) {
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) total[i] += static_cast<double>(x[r * stride + i]);
  }
  for (int64_t i = 0; i < width; ++i)
    y[i] = static_cast<T>(factor * total[i] + (accumulate ? static_cast<double>(y[i]) : 0.0));
}
TANDEM_SIMD void sum_columns(float* y, const float* x, int64_t rows, int64_t stride, int64_t width,
                             double factor, bool accumulate) {
  sum_columns_body(y, x, rows, stride, width, factor, accumulate);
}
TANDEM_SIMD void sum_columns(double* y, const double* x, int64_t rows, int64_t stride, int64_t width,
                             double factor, bool accumulate) {
  sum_columns_body(y, x, rows, stride, width, factor, accumulate);
}

// Returns one long sum: all threads sum blocks, and one thread sums the results.
template <class T>
double sum_blocks(const T* x, int64_t n) {
  const int64_t blocks = (n + kSumBlock - 1) / kSumBlock;
  const Tensor partial({blocks}, DType::f64);
  double* sums = partial.data<double>();
  cpu::for_blocks(n, kSumBlock, 1, [sums, x](int64_t begin, int64_t end) {
    sums[begin / kSumBlock] = sum_row(x + begin, end - begin);
  });
  return sum_row(sums, blocks);
}

template <class T>
void sum_axis_of(T* y, const T* x, AxisSplit s, double factor, bool accumulate) {
  if (s.inner == 1 && s.outer == 1) {
    *y = static_cast<T>(factor * sum_blocks(x, s.count) + (accumulate ? static_cast<double>(*y) : 0.0));
  } else if (s.inner == 1) {
    cpu::for_rows(s.outer, s.count, [y, x, s, factor, accumulate](int64_t row, int64_t end) {
      for (; row < end; ++row)
        y[row] = static_cast<T>(factor * sum_row(x + row * s.count, s.count) +
                                (accumulate ? static_cast<double>(y[row]) : 0.0));
    });
  } else {
    const int64_t pieces = (s.inner + kColumns - 1) / kColumns;
    cpu::for_blocks(s.outer * pieces, 1, s.count * kColumns,
                    [y, x, s, pieces, factor, accumulate](int64_t piece, int64_t) {
                      const int64_t row = piece / pieces, column = piece % pieces * kColumns;
                      sum_columns(y + row * s.inner + column, x + row * s.count * s.inner + column, s.count,
                                  s.inner, std::min(kColumns, s.inner - column), factor, accumulate);
                    });
  }
}

template <class T>
void repeat_axis_of(T* y, const T* x, AxisSplit s, double factor) {
  cpu::for_rows(s.outer * s.count, s.inner, [y, x, s, factor](int64_t row, int64_t end) {
    for (; row < end; ++row) {
      const T* in = x + row / s.count * s.inner;
      T* out = y + row * s.inner;
      for (int64_t i = 0; i < s.inner; ++i) out[i] = static_cast<T>(factor) * in[i];
    }
  });
}

// y = f sum_k x_k:  dx_k = f dy.
Tensor reduce(const char* name, const Tensor& x, Shape shape, AxisSplit split, double factor) {
  Tensor y(shape, x.dtype(), x.device());
  TANDEM_DISPATCH(x.device(), sum_axis(y, x, split, factor, false));
  const Shape from = x.shape();
  return record(name, y, {x}, [from, split, factor](const Tensor& dy) -> Grads {
    Tensor dx(from, dy.dtype(), dy.device());
    TANDEM_DISPATCH(dy.device(), repeat_axis(dx, dy, split, factor));
    return {dx};
  });
}

}  // namespace

namespace cpu {

void sum_axis(const Tensor& y, const Tensor& x, AxisSplit split, double factor, bool accumulate) {
  dispatch_float(x.dtype(), "sum",
                 [&]<class T>() { sum_axis_of(y.data<T>(), x.data<T>(), split, factor, accumulate); });
}

void repeat_axis(const Tensor& y, const Tensor& x, AxisSplit split, double factor) {
  dispatch_float(x.dtype(), "sum",
                 [&]<class T>() { repeat_axis_of(y.data<T>(), x.data<T>(), split, factor); });
}

}  // namespace cpu

Tensor sum(const Tensor& x) {
  check_floating("sum", {{"x", x}});
  return reduce("sum", x, {}, {1, x.numel(), 1}, 1);
}

Tensor mean(const Tensor& x) {
  check_floating("mean", {{"x", x}});
  TANDEM_CHECK(x.numel() > 0, "mean: x is {}, which has no elements", x.summary());
  return reduce("mean", x, {}, {1, x.numel(), 1}, 1 / static_cast<double>(x.numel()));
}

Tensor sum(const Tensor& x, int axis) {
  check_floating("sum", {{"x", x}});
  check_axis("sum", {"x", x}, axis);
  return reduce("sum", x, without_axis(x.shape(), axis), split_at(x.shape(), axis), 1);
}

Tensor mean(const Tensor& x, int axis) {
  check_floating("mean", {{"x", x}});
  check_axis("mean", {"x", x}, axis);
  const AxisSplit split = split_at(x.shape(), axis);
  TANDEM_CHECK(split.count > 0, "mean: x is {}, whose axis {} has no elements", x.summary(), axis);
  return reduce("mean", x, without_axis(x.shape(), axis), split, 1 / static_cast<double>(split.count));
}

}  // namespace tandem
