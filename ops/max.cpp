// max and argmax on the CPU: row by row, or row against row where the axis is not the last.
#include "tandem/ops/max.h"

#include <algorithm>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"

namespace tandem {
namespace {

constexpr int64_t kColumns = 256;  // columns that are compared together if the axis is not the last

// y and index = the larger of y and x, and where it stands; x is row k.
template <class T>
TANDEM_INLINE void take_larger_body(T* y, int32_t* index, const T* x, int32_t k, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const bool larger = exceeds(x[i], y[i]);
    y[i] = larger ? x[i] : y[i];
    index[i] = larger ? k : index[i];
  }
}
TANDEM_SIMD void take_larger(float* y, int32_t* index, const float* x, int32_t k, int64_t n) {
  take_larger_body(y, index, x, k, n);
}
TANDEM_SIMD void take_larger(double* y, int32_t* index, const double* x, int32_t k, int64_t n) {
  take_larger_body(y, index, x, k, n);
}

// Lanes that stand side by side in a row keep a largest element each. Of these, the first of equal ones is taken.
template <class T>
void largest_of_row(T& y, int32_t& index, const T* x, int64_t n) {
  constexpr int64_t kLanes = 16;
  T values[kLanes];
  int32_t rounds[kLanes] = {};
  const int64_t whole = n / kLanes;
  if (whole > 0) {
    std::copy_n(x, kLanes, values);
    for (int64_t k = 1; k < whole; ++k)
      take_larger(values, rounds, x + k * kLanes, static_cast<int32_t>(k), kLanes);
  }
  int64_t best = whole > 0 ? rounds[0] * kLanes : 0;
  for (int64_t j = 1; whole > 0 && j < kLanes; ++j) {
    const int64_t at = rounds[j] * kLanes + j;
    if (exceeds(x[at], x[best]) || (!exceeds(x[best], x[at]) && at < best)) best = at;
  }
  for (int64_t i = whole * kLanes; i < n; ++i)
    if (exceeds(x[i], x[best])) best = i;
  y = x[best];
  index = static_cast<int32_t>(best);
}

template <class T>
void largest(T* y, int32_t* index, const T* x, AxisSplit s) {
  if (s.inner == 1) {
    cpu::for_rows(s.outer, s.count, [y, index, x, s](int64_t row, int64_t end) {
      for (; row < end; ++row) largest_of_row(y[row], index[row], x + row * s.count, s.count);
    });
    return;
  }
  const int64_t pieces = (s.inner + kColumns - 1) / kColumns;
  cpu::for_blocks(s.outer * pieces, 1, s.count * kColumns, [y, index, x, s, pieces](int64_t piece, int64_t) {
    const int64_t row = piece / pieces, column = piece % pieces * kColumns;
    const int64_t n = std::min(kColumns, s.inner - column), to = row * s.inner + column;
    const T* from = x + row * s.count * s.inner + column;
    std::copy_n(from, n, y + to);
    std::fill_n(index + to, n, 0);
    for (int64_t k = 1; k < s.count; ++k)
      take_larger(y + to, index + to, from + k * s.inner, static_cast<int32_t>(k), n);
  });
}

// The largest elements of x along an axis, and where they stand.
struct Largest {
  Tensor value, index;
  AxisSplit split;
};

Largest largest_along(const char* name, const Tensor& x, int axis) {
  check_floating(name, {{"x", x}});
  const AxisSplit split = split_at(x.shape(), check_axis(name, {"x", x}, axis));
  TANDEM_CHECK(split.count > 0 && split.count <= INT32_MAX,
               "{}: x is {}; axis {} must have at least one element, and fewer than 2^31", name, x.summary(),
               axis);
  const Shape shape = without_axis(x.shape(), axis);
  const Tensor y(shape, x.dtype(), x.device()), index(shape, DType::i32, x.device());
  TANDEM_DISPATCH(x.device(), max_forward(y, index, x, split));
  return {y, index, split};
}

}  // namespace

namespace cpu {

void max_forward(const Tensor& y, const Tensor& index, const Tensor& x, AxisSplit split) {
  dispatch_float(x.dtype(), "max",
                 [&]<class T>() { largest(y.data<T>(), index.data<int32_t>(), x.data<T>(), split); });
}

void max_backward(const Tensor& dx, const Tensor& dy, const Tensor& index, AxisSplit split) {
  cpu::fill(dx, 0);
  dispatch_float(dx.dtype(), "max", [&]<class T>() {
    T* out = dx.data<T>();
    const T* in = dy.data<T>();
    const int32_t* at = index.data<int32_t>();
    for_rows(split.outer, split.inner, [out, in, at, split](int64_t row, int64_t end) {
      for (int64_t i = row * split.inner; i < end * split.inner; ++i)
        out[(i / split.inner * split.count + at[i]) * split.inner + i % split.inner] = in[i];
    });
  });
}

}  // namespace cpu

// y = x_k, k = argmax:  dx_k = dy, and 0 elsewhere.
Tensor max(const Tensor& x, int axis) {
  const auto [y, index, split] = largest_along("max", x, axis);
  return record("max", y, {x}, [index = index, split = split, shape = x.shape()](const Tensor& dy) -> Grads {
    const Tensor dx(shape, dy.dtype(), dy.device());
    TANDEM_DISPATCH(dy.device(), max_backward(dx, dy, index, split));
    return {dx};
  });
}

Tensor argmax(const Tensor& x, int axis) {
  return largest_along("argmax", x, axis).index;
}

}  // namespace tandem
