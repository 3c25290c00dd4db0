// cumulative on the CPU: a task takes one row, or up to 64 neighbouring columns, through the whole axis.
#include "tandem/ops/cumulative.h"

#include <algorithm>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/support/data_or_null.h"

namespace tandem {
namespace {

constexpr int64_t kColumns = 64;  // columns that are taken through the axis together

// The elements of `width` neighbouring columns: the first one passed, the distance from a row to the one passed after it,
// and the number of rows.
struct Lane {
  int64_t first, step, count, width;
};

template <class Scan>
TANDEM_INLINE void scan_body(const Scan& scan, Lane lane) {
  typename Scan::State state[kColumns];
  for (int64_t j = 0; j < lane.width; ++j) state[j] = Scan::identity();
  for (int64_t k = 0; k < lane.count; ++k) {
    const int64_t row = lane.first + k * lane.step;
#pragma omp simd
    for (int64_t j = 0; j < lane.width; ++j) {
      state[j] = Scan::combine(state[j], scan.load(row + j, -lane.step, k == 0));
      scan.store(row + j, state[j]);
    }
  }
}
template <class Scan>
void scan_lane(const Scan& scan, Lane lane) {
  scan_body(scan, lane);
}
// The sums alone become vector instructions; the others wait for exponentials.
TANDEM_SIMD void scan_lane(const SumScan<float>& scan, Lane lane) {
  scan_body(scan, lane);
}
TANDEM_SIMD void scan_lane(const SumScan<double>& scan, Lane lane) {
  scan_body(scan, lane);
}

template <class Scan>
void scan_all(const Scan& scan, AxisSplit s, bool reverse) {
  const int64_t pieces = (s.inner + kColumns - 1) / kColumns;
  cpu::for_blocks(s.outer * pieces, 1, s.count * std::min(kColumns, s.inner),
                  [&scan, s, pieces, reverse](int64_t piece, int64_t) {
                    const int64_t column = piece % pieces * kColumns;
                    const int64_t begin = piece / pieces * s.count * s.inner + column;
                    const int64_t width = std::min(kColumns, s.inner - column);
                    if (reverse)
                      scan_lane(scan, Lane{begin + (s.count - 1) * s.inner, -s.inner, s.count, width});
                    else
                      scan_lane(scan, Lane{begin, s.inner, s.count, width});
                  });
}

Tensor running_sum(const Tensor& x, AxisSplit split, bool reverse) {
  const Tensor y = empty_like(x);
  TANDEM_DISPATCH(x.device(), cumsum(y, x, split, reverse));
  return y;
}

}  // namespace

namespace cpu {

void cumsum(const Tensor& y, const Tensor& x, AxisSplit split, bool reverse) {
  dispatch_float(x.dtype(), "cumsum", [&]<class T>() {
    scan_all(SumScan<T>{y.data<T>(), x.data<T>()}, split, reverse);
  });
}

void logcumsumexp_forward(const Tensor& y, const Tensor& lse, const Tensor& x, AxisSplit split) {
  dispatch_float(x.dtype(), "logcumsumexp", [&]<class T>() {
    scan_all(LogSumScan<T>{y.data<T>(), data_or_null<double>(lse), x.data<T>()}, split, false);
  });
}

void logcumsumexp_backward(const Tensor& dx, const Tensor& dy, const Tensor& x, const Tensor& lse,
                           AxisSplit split) {
  dispatch_float(x.dtype(), "logcumsumexp", [&]<class T>() {
    scan_all(LogSumGradientScan<T>{dx.data<T>(), dy.data<T>(), x.data<T>(), lse.data<double>()}, split, true);
  });
}

}  // namespace cpu

// y_t = sum over s <= t of x_s:  dx_t = sum over s >= t of dy_s.
Tensor cumsum(const Tensor& x, int axis) {
  check_floating("cumsum", {{"x", x}});
  const AxisSplit split = split_at(x.shape(), check_axis("cumsum", {"x", x}, axis));
  return record("cumsum", running_sum(x, split, false), {x},
                [split](const Tensor& dy) -> Grads { return {running_sum(dy, split, true)}; });
}

// y_t = log sum over s <= t of e^{x_s}:  dx_t = e^{x_t} sum over s >= t of dy_s e^{-y_s}, as LogSumGradientScan forms it.
Tensor logcumsumexp(const Tensor& x, int axis) {
  check_floating("logcumsumexp", {{"x", x}});
  const AxisSplit split = split_at(x.shape(), check_axis("logcumsumexp", {"x", x}, axis));
  const Tensor y = empty_like(x);
  const bool recorded = Tape::current() && needs_grad(x);
  const bool apart = recorded && x.dtype() != DType::f64;  // y in f64, if y itself is not
  const Tensor wide = apart ? Tensor(x.shape(), DType::f64, x.device()) : Tensor();
  TANDEM_DISPATCH(x.device(), logcumsumexp_forward(y, wide, x, split));
  return record("logcumsumexp", y, {x}, [x, lse = apart ? wide : y, split](const Tensor& dy) -> Grads {
    const Tensor dx = empty_like(dy);
    TANDEM_DISPATCH(dy.device(), logcumsumexp_backward(dx, dy, x, lse, split));
    return {dx};
  });
}

}  // namespace tandem
