// rms_norm on the CPU, row by row; the gradient of the gain is summed over fixed chunks of rows.
#include "tandem/ops/rms_norm.h"

#include <algorithm>
#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/support/check_operand.h"
#include "tandem/ops/support/data_or_null.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

constexpr int64_t kMostChunks = 64;  // of rows, each with sums of its own

// Returns rstd.
template <class T>
TANDEM_INLINE T forward_body(T* y, const T* x, const T* gain, T eps, int64_t n) {
  T squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t j = 0; j < n; ++j) squares += x[j] * x[j];
  const T rstd = T(1) / std::sqrt(squares / static_cast<T>(n) + eps);
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] = x[j] * rstd * gain[j];
  return rstd;
}
TANDEM_SIMD float forward_row(float* y, const float* x, const float* gain, double eps, int64_t n) {
  return forward_body(y, x, gain, static_cast<float>(eps), n);
}
TANDEM_SIMD double forward_row(double* y, const double* x, const double* gain, double eps, int64_t n) {
  return forward_body(y, x, gain, eps, n);
}

// With x_hat = x rstd and g = dy gain:  dx = rstd (g - x_hat mean(g x_hat)),  dgain += dy x_hat. dx may be null.
template <class T>
TANDEM_INLINE void backward_body(T* dx, T* dgain, const T* dy, const T* x, const T* gain, T rstd, int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) {
    const T weighted = dy[j] * (x[j] * rstd);
    sum += weighted * gain[j];
    dgain[j] += weighted;
  }
  if (!dx) return;
  const T mean = sum / static_cast<T>(n);
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) dx[j] = rms_norm_element_backward(dy[j] * gain[j], x[j] * rstd, rstd, mean);
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
void backward(const Tensor& dx, const GradTarget& dgain, const Tensor& dy, const Tensor& x,
              const Tensor& gain, const Tensor& rstd) {
  const int64_t n = gain.numel(), rows = rstd.numel();
  // The cut depends on the shape alone, so the number of threads does not change the sums.
  const int64_t chunk_rows = std::max<int64_t>(8, (rows + kMostChunks - 1) / kMostChunks);
  const Tensor sums = zeros({(rows + chunk_rows - 1) / chunk_rows, n}, gain.dtype());
  T *out = data_or_null<T>(dx), *all_sums = sums.data<T>();
  const T *up = dy.data<T>(), *in = x.data<T>(), *factors = gain.data<T>(), *scales = rstd.data<T>();
  cpu::for_blocks(rows, chunk_rows, n, [=](int64_t row, int64_t end) {
    T* const sum = all_sums + row / chunk_rows * n;
    for (; row < end; ++row)
      backward_row(out ? out + row * n : nullptr, sum, up + row * n, in + row * n, factors, scales[row], n);
  });
  if (!dgain.grad.defined()) return;
  if (!dgain.accumulate) fill(dgain.grad, 0);
  T* const total = dgain.grad.data<T>();
  for (int64_t chunk = 0; chunk < sums.size(0); ++chunk)
    for (int64_t j = 0; j < n; ++j) total[j] += all_sums[chunk * n + j];
}

}  // namespace

namespace cpu {

void rms_norm_forward(const Tensor& y, const Tensor& rstd, const Tensor& x, const Tensor& gain, double eps) {
  dispatch_float(x.dtype(), "rms_norm", [&]<class T>() {
    T *out = y.data<T>(), *scales = rstd.data<T>();
    const T *in = x.data<T>(), *factors = gain.data<T>();
    const int64_t n = gain.numel();
    for_rows(rstd.numel(), n, [out, scales, in, factors, eps, n](int64_t row, int64_t end) {
      for (; row < end; ++row) scales[row] = forward_row(out + row * n, in + row * n, factors, eps, n);
    });
  });
}

void rms_norm_backward(const Tensor& dx, const GradTarget& dgain, const Tensor& dy, const Tensor& x,
                       const Tensor& gain, const Tensor& rstd) {
  dispatch_float(dy.dtype(), "rms_norm", [&]<class T>() { backward<T>(dx, dgain, dy, x, gain, rstd); });
}

}  // namespace cpu

Tensor rms_norm(const Tensor& x, const Tensor& gain, double eps) {
  check_floating("rms_norm", {{"x", x}});
  TANDEM_CHECK(x.rank() >= 1 && x.size(-1) > 0,
               "rms_norm: x is {}; it needs a last axis of at least one element", x.str());
  const DType parameter = parameter_dtype(x.dtype());
  check_operand({"rms_norm", "x", x}, "gain", gain, {x.size(-1)}, parameter);
  TANDEM_CHECK(eps > 0, "rms_norm: eps is {}; it must be positive, such as 1e-6", eps);
  const Tensor y = empty_like(x), rstd({x.numel() / x.size(-1)}, parameter, x.device());
  TANDEM_DISPATCH(x.device(), rms_norm_forward(y, rstd, x, gain, eps));
  return record("rms_norm", y, {x, gain}, [x, gain, rstd](const Tensor& dy) -> Grads {
    const Tensor dx = needs_grad(x) ? empty_like(x) : Tensor();
    const GradTarget dgain = grad_target(gain);
    TANDEM_DISPATCH(dy.device(), rms_norm_backward(dx, dgain, dy, x, gain, rstd));
    return {dx, dgain.grad};
  });
}

}  // namespace tandem
