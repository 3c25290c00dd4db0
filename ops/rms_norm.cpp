// rms_norm on the CPU, row by row.
#include "tandem/ops/rms_norm.h"

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/support/check_operand.h"
#include "tandem/ops/support/data_or_null.h"
#include "tandem/ops/support/sum_chunks.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

// Computes y = x rstd gain of a row, or x rstd if gain is null, and returns rstd.
template <class T>
TANDEM_INLINE T forward_body(T* y, const T* x, const T* gain, T eps, int64_t n) {
  T squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t j = 0; j < n; ++j) squares += x[j] * x[j];
  const T rstd = T(1) / std::sqrt(squares / static_cast<T>(n) + eps);
  if (gain) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) y[j] = x[j] * rstd * gain[j];
  } else {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) y[j] = x[j] * rstd;
  }
  return rstd;
}
TANDEM_SIMD float forward_row(float* y, const float* x, const float* gain, double eps, int64_t n) {
  return forward_body(y, x, gain, static_cast<float>(eps), n);
}
TANDEM_SIMD double forward_row(double* y, const double* x, const double* gain, double eps, int64_t n) {
  return forward_body(y, x, gain, eps, n);
}

// With x_hat = x rstd and g = dy gain:
//
//     dx = rstd (g - x_hat mean(g x_hat))     dgain += dy x_hat
//
// dx and dgain may be null.
template <class T>
TANDEM_INLINE void backward_body(T* dx, T* dgain, const T* dy, const T* x, const T* gain, T rstd, int64_t n) {
  if (dgain) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) dgain[j] += dy[j] * (x[j] * rstd);
  }
  if (!dx) return;
  T sum = 0;
  if (gain) {
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; ++j) sum += dy[j] * gain[j] * (x[j] * rstd);
    const T mean = sum / static_cast<T>(n);
#pragma omp simd
    for (int64_t j = 0; j < n; ++j)
      dx[j] = rms_norm_element_backward(dy[j] * gain[j], x[j] * rstd, rstd, mean);
  } else {
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; ++j) sum += dy[j] * (x[j] * rstd);
    const T mean = sum / static_cast<T>(n);
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) dx[j] = rms_norm_element_backward(dy[j], x[j] * rstd, rstd, mean);
  }
}
TANDEM_SIMD void backward_row(float* dx, float* dgain, const float* dy, const float* x, const float* gain,
                              float rstd, int64_t n) {
  backward_body(dx, dgain, dy, x, gain, rstd, n);
}
TANDEM_SIMD void backward_row(double* dx, double* dgain, const double* dy, const double* x,
                              const double* gain, double rstd, int64_t n) {
  backward_body(dx, dgain, dy, x, gain, rstd, n);
}

template <class T>
void forward(const Tensor& y, const Tensor& rstd, const Tensor& x, const Tensor& gain, double eps) {
  const int64_t n = x.size(-1);
  T *out = y.data<T>(), *stats = rstd.data<T>();
  const T *in = x.data<T>(), *g = data_or_null<T>(gain);
  cpu::for_rows(rstd.numel(), n, [out, stats, in, g, eps, n](int64_t row, int64_t end) {
    for (; row < end; ++row) stats[row] = forward_row(out + row * n, in + row * n, g, eps, n);
  });
}

template <class T>
void backward(const RmsNormGrads& out, const Tensor& dy, const Tensor& x, const Tensor& gain,
              const Tensor& rstd) {
  const int64_t n = x.size(-1), rows = rstd.numel();
  const SumChunks chunks(rows);
  const bool wants_gain = out.dgain.grad.defined();
  const Tensor sums = wants_gain ? zeros({chunks.count, n}, dy.dtype()) : Tensor();
  T *dx = data_or_null<T>(out.dx), *dgain = data_or_null<T>(sums);
  const T *dys = dy.data<T>(), *xs = x.data<T>(), *g = data_or_null<T>(gain), *stats = rstd.data<T>();
  cpu::for_blocks(rows, chunks.rows, n, [dx, dgain, dys, xs, g, stats, n, chunks](int64_t i, int64_t end) {
    T* const sum = dgain ? dgain + i / chunks.rows * n : nullptr;
    for (; i < end; ++i)
      backward_row(dx ? dx + i * n : nullptr, sum, dys + i * n, xs + i * n, g, stats[i], n);
  });
  if (wants_gain) cpu::sum_axis(out.dgain.grad, sums, {1, chunks.count, n}, 1, out.dgain.accumulate);
}

}  // namespace

namespace cpu {

void rms_norm_forward(const Tensor& y, const Tensor& rstd, const Tensor& x, const Tensor& gain, double eps) {
  dispatch_float(x.dtype(), "rms_norm", [&]<class T>() { forward<T>(y, rstd, x, gain, eps); });
}

void rms_norm_backward(const RmsNormGrads& out, const Tensor& dy, const Tensor& x, const Tensor& gain,
                       const Tensor& rstd) {
  dispatch_float(x.dtype(), "rms_norm", [&]<class T>() { backward<T>(out, dy, x, gain, rstd); });
}

}  // namespace cpu

Tensor rms_norm(const Tensor& x, const Tensor& gain, double eps) {
  check_floating("rms_norm", {{"x", x}});
  TANDEM_CHECK(x.rank() >= 1 && x.size(-1) > 0,
               "rms_norm: x is {}; it needs a last axis of at least one element", x.shape().str());
  const DType parameters = parameter_dtype(x.dtype());
  if (gain.defined()) check_operand({"rms_norm", "x", x}, "gain", gain, {x.size(-1)}, parameters);
  TANDEM_CHECK(eps > 0, "rms_norm: eps is {}; it must be positive, such as 1e-6", eps);
  const Tensor y = empty_like(x), rstd({x.numel() / x.size(-1)}, parameters, x.device());
  TANDEM_DISPATCH(x.device(), rms_norm_forward(y, rstd, x, gain, eps));
  return record("rms_norm", y, {x, gain}, [x, gain, rstd](const Tensor& dy) -> Grads {
    RmsNormGrads out;
    if (needs_grad(x)) out.dx = empty_like(x);
    if (gain.defined()) out.dgain = grad_target(gain);
    TANDEM_DISPATCH(dy.device(), rms_norm_backward(out, dy, x, gain, rstd));
    return {out.dx, out.dgain.grad};
  });
}

}  // namespace tandem
