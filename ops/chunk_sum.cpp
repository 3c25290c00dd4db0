// chunk_sum on the CPU: a row is summed chunk by chunk.
#include "tandem/ops/chunk_sum.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"

namespace tandem {
namespace {

// y (width) = the sum of the whole chunks of x (n).
template <class T>
TANDEM_INLINE void sum_body(T* y, const T* x, int64_t n, int64_t width) {
  std::copy_n(x, width, y);
  for (int64_t begin = width; begin + width <= n; begin += width) {
    const T* chunk = x + begin;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) y[j] += chunk[j];
  }
}
TANDEM_SIMD void sum_row(float* y, const float* x, int64_t n, int64_t width) {
  sum_body(y, x, n, width);
}
TANDEM_SIMD void sum_row(double* y, const double* x, int64_t n, int64_t width) {
  sum_body(y, x, n, width);
}

template <class T>
void forward(T* y, const T* x, int64_t rows, int64_t n, int64_t width) {
  cpu::for_rows(rows, n, [y, x, n, width](int64_t row, int64_t end) {
    for (; row < end; ++row) sum_row(y + row * width, x + row * n, n, width);
  });
}

template <class T>
void backward(T* dx, const T* dy, int64_t rows, int64_t n, int64_t width) {
  cpu::for_rows(rows, n, [dx, dy, n, width](int64_t row, int64_t end) {
    for (; row < end; ++row) {
      T* to = dx + row * n;
      int64_t begin = 0;
      for (; begin + width <= n; begin += width) std::copy_n(dy + row * width, width, to + begin);
      std::fill(to + begin, to + n, T(0));
    }
  });
}

}  // namespace

namespace cpu {

void chunk_sum_forward(const Tensor& y, const Tensor& x) {
  dispatch_float(x.dtype(), "chunk_sum", [&]<class T>() {
    forward(y.data<T>(), x.data<T>(), y.numel() / y.size(-1), x.size(-1), y.size(-1));
  });
}

void chunk_sum_backward(const Tensor& dx, const Tensor& dy) {
  dispatch_float(dy.dtype(), "chunk_sum", [&]<class T>() {
    backward(dx.data<T>(), dy.data<T>(), dy.numel() / dy.size(-1), dx.size(-1), dy.size(-1));
  });
}

}  // namespace cpu

// y_j = sum_k x_{k width + j}:  dx_{k width + j} = dy_j.
Tensor chunk_sum(const Tensor& x, int64_t width) {
  check_floating("chunk_sum", {{"x", x}});
  TANDEM_CHECK(
      x.rank() >= 1 && width >= 1 && x.size(-1) >= width,
      "chunk_sum: x is {} and width {}; the last axis must hold at least one chunk of at least one element",
      x.summary(), width);
  const Tensor y(x.shape().with(-1, width), x.dtype(), x.device());
  TANDEM_DISPATCH(x.device(), chunk_sum_forward(y, x));
  return record("chunk_sum", y, {x}, [shape = x.shape()](const Tensor& dy) -> Grads {
    const Tensor dx(shape, dy.dtype(), dy.device());
    TANDEM_DISPATCH(dy.device(), chunk_sum_backward(dx, dy));
    return {dx};
  });
}

}  // namespace tandem
