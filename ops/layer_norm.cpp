// layer_norm on the CPU, row by row, and its two operators.
#include "tandem/ops/layer_norm.h"

#include <algorithm>
#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/support/check_operand.h"
#include "tandem/ops/support/data_or_null.h"
#include "tandem/ops/support/sum_chunks.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

// y = x + alpha a. y may be x.
template <class T>
TANDEM_INLINE void add_scaled(T* y, const T* x, T alpha, const T* a, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] = x[j] + alpha * a[j];
}

// Takes two passes over the row, which stays in cache: the variance as mean(x^2) - mean(x)^2 would cancel.
template <class T>
TANDEM_INLINE void forward_row(T* y, T* stats, const T* x, const T* a, T alpha, const T* gain, const T* bias,
                               T eps, int64_t n) {
  if (a) {
    add_scaled(y, x, alpha, a, n);
    x = y;
  }
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) sum += x[j];
  const T mean = sum / static_cast<T>(n);
  T squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t j = 0; j < n; ++j) squares += (x[j] - mean) * (x[j] - mean);
  const T rstd = T(1) / std::sqrt(squares / static_cast<T>(n) + eps);
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] = layer_norm_element(x[j], mean, rstd, gain[j], bias[j]);
  stats[0] = mean;
  stats[1] = rstd;
}

TANDEM_SIMD void forward_row(float* y, float* stats, const float* x, const float* a, float alpha,
                             const float* gain, const float* bias, double eps, int64_t n) {
  forward_row<float>(y, stats, x, a, alpha, gain, bias, static_cast<float>(eps), n);
}
TANDEM_SIMD void forward_row(double* y, double* stats, const double* x, const double* a, double alpha,
                             const double* gain, const double* bias, double eps, int64_t n) {
  forward_row<double>(y, stats, x, a, alpha, gain, bias, eps, n);
}

// With x_hat = (x - mean) rstd and g = dy gain:
//
//     dx = rstd (g - mean(g) - x_hat mean(g x_hat))     dgain += dy x_hat     dbias += dy
//
// and for x = q + alpha a:  dq = dx,  da = alpha dx,  dalpha = sum(a dx), which is returned. Ba et al. 2016.
// With `a`, dx first holds the row q + alpha a.
template <class T>
TANDEM_INLINE T backward_row(T* dx, T* da, T* dgain, T* dbias, const T* dy, const T* x, const T* a, T alpha,
                             const T* gain, const T* stats, int64_t n) {
  const T mean = stats[0], rstd = stats[1];
  if (a) {
    add_scaled(dx, x, alpha, a, n);
    x = dx;
  }
  T sum_g = 0, sum_gx = 0;
#pragma omp simd reduction(+ : sum_g, sum_gx)
  for (int64_t j = 0; j < n; ++j) {
    const T x_hat = (x[j] - mean) * rstd, g = dy[j] * gain[j];
    sum_g += g;
    sum_gx += g * x_hat;
    dgain[j] += dy[j] * x_hat;
    dbias[j] += dy[j];
  }
  const T mean_g = sum_g / static_cast<T>(n), mean_gx = sum_gx / static_cast<T>(n);
#pragma omp simd
  for (int64_t j = 0; j < n; ++j)
    dx[j] = layer_norm_element_backward(dy[j] * gain[j], (x[j] - mean) * rstd, rstd, mean_g, mean_gx);
  if (!a) return T(0);
  T dalpha = 0;
#pragma omp simd reduction(+ : dalpha)
  for (int64_t j = 0; j < n; ++j) dalpha += a[j] * dx[j];
  if (da) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) da[j] = alpha * dx[j];
  }
  return dalpha;
}

TANDEM_SIMD float backward_row(float* dx, float* da, float* dgain, float* dbias, const float* dy,
                               const float* x, const float* a, float alpha, const float* gain,
                               const float* stats, int64_t n) {
  return backward_row<float>(dx, da, dgain, dbias, dy, x, a, alpha, gain, stats, n);
}
TANDEM_SIMD double backward_row(double* dx, double* da, double* dgain, double* dbias, const double* dy,
                                const double* x, const double* a, double alpha, const double* gain,
                                const double* stats, int64_t n) {
  return backward_row<double>(dx, da, dgain, dbias, dy, x, a, alpha, gain, stats, n);
}

template <class T>
void forward(const Tensor& y, const Tensor& stats, const LayerNormRows& in, const Tensor& gain,
             const Tensor& bias, const LayerNormOptions& options) {
  const int64_t n = gain.numel(), rows = stats.size(0);
  const T *x = in.x.data<T>(), *a = data_or_null<T>(in.a);
  const T alpha = in.a.defined() ? in.alpha.data<T>()[0] : T(0);
  const T *gain_data = gain.data<T>(), *bias_data = bias.data<T>();
  T *y_data = y.data<T>(), *stats_data = stats.data<T>();
  cpu::parallel_for(rows, rows * n > kParallelGrain, [&](int64_t i) {
    T* row = y_data + i * n;
    forward_row(row, stats_data + 2 * i, x + i * n, a ? a + i * n : nullptr, alpha, gain_data, bias_data,
                options.eps, n);
    if (options.dropout > 0) cpu::dropout_row(row, row, i * n, n, options.dropout, options.key);
  });
}

// Sets target, or adds to it, the sums over all chunks of the columns first .. first + n - 1, in the order of
// the chunks.
template <class T>
void sum_over_chunks(const GradTarget& target, const Tensor& sums, int64_t first, int64_t n) {
  if (!target.grad.defined()) return;
  T* y = target.grad.data<T>();
  if (!target.accumulate) std::fill_n(y, n, T(0));
  for (int64_t chunk = 0; chunk < sums.size(0); ++chunk) {
    const T* row = sums.data<T>() + chunk * sums.size(1) + first;
    for (int64_t j = 0; j < n; ++j) y[j] += row[j];
  }
}

template <class T>
void backward(const LayerNormGrads& out, const Tensor& dy, const LayerNormRows& in, const Tensor& gain,
              const Tensor& stats, const LayerNormOptions& options) {
  const int64_t n = gain.numel(), rows = stats.size(0);
  const SumChunks chunks(rows);
  const Tensor sums = zeros({chunks.count, 2 * n + 1}, dy.dtype());  // dgain, dbias, dalpha
  const Tensor scratch = out.dx.defined() ? Tensor() : Tensor({chunks.count, n}, dy.dtype());
  const Tensor dropped = options.dropout > 0 ? Tensor({chunks.count, n}, dy.dtype()) : Tensor();
  const T *x = in.x.data<T>(), *a = data_or_null<T>(in.a), *dy_data = dy.data<T>();
  const T alpha = in.a.defined() ? in.alpha.data<T>()[0] : T(0);
  T* da = data_or_null<T>(out.da);
  cpu::parallel_for(chunks.count, rows * n > kParallelGrain, [&](int64_t chunk) {
    T* sum = sums.data<T>() + chunk * (2 * n + 1);
    double dalpha = 0;
    for (int64_t i = chunk * chunks.rows; i < std::min(rows, (chunk + 1) * chunks.rows); ++i) {
      T* dx = out.dx.defined() ? out.dx.data<T>() + i * n : scratch.data<T>() + chunk * n;
      const T* dy_row = dy_data + i * n;
      if (options.dropout > 0) {
        T* kept = dropped.data<T>() + chunk * n;
        cpu::dropout_row(kept, dy_row, i * n, n, options.dropout, options.key);
        dy_row = kept;
      }
      dalpha += backward_row(dx, da ? da + i * n : nullptr, sum, sum + n, dy_row, x + i * n,
                             a ? a + i * n : nullptr, alpha, gain.data<T>(), stats.data<T>() + 2 * i, n);
    }
    sum[2 * n] = static_cast<T>(dalpha);
  });
  sum_over_chunks<T>(out.dgain, sums, 0, n);
  sum_over_chunks<T>(out.dbias, sums, n, n);
  sum_over_chunks<T>(out.dalpha, sums, 2 * n, 1);
}

// Checks, computes and records either operator, whose inputs are (x, gain, bias) or (q, a, alpha, gain, bias).
Tensor normalise(const char* op, const LayerNormRows& in, const Tensor& gain, const Tensor& bias,
                 const LayerNormOptions& options) {
  const Tensor& x = in.x;
  const MainOperand main{op, in.a.defined() ? "q" : "x", x};
  check_floating(op, {{main.name, x}});
  const DType parameters = parameter_dtype(x.dtype());
  TANDEM_CHECK(x.rank() >= 1 && x.size(-1) > 0, "{}: {} is {}; it needs a last axis of at least one element",
               op, main.name, x.shape().str());
  check_operand(main, "gain", gain, {x.size(-1)}, parameters);
  check_operand(main, "bias", bias, {x.size(-1)}, parameters);
  TANDEM_CHECK(options.eps > 0, "{}: options.eps is {}; it must be positive, such as 1e-5", op, options.eps);
  TANDEM_CHECK(options.dropout >= 0 && options.dropout < 1,
               "{}: options.dropout is {}; a probability of dropping must lie in [0, 1)", op,
               options.dropout);
  const Tensor y = empty_like(x), stats({x.numel() / x.size(-1), 2}, parameters, x.device());
  TANDEM_DISPATCH(x.device(), layer_norm_forward(y, stats, in, gain, bias, options));
  std::vector<Tensor> inputs{x, gain, bias};
  if (in.a.defined()) inputs = {x, in.a, in.alpha, gain, bias};
  return record(op, y, inputs, [in, gain, bias, stats, options](const Tensor& dy) -> Grads {
    LayerNormGrads out;
    if (needs_grad(in.x)) out.dx = empty_like(in.x);
    if (needs_grad(in.a)) out.da = empty_like(in.a);
    out.dalpha = grad_target(in.alpha);
    out.dgain = grad_target(gain);
    out.dbias = grad_target(bias);
    TANDEM_DISPATCH(dy.device(), layer_norm_backward(out, dy, in, gain, stats, options));
    if (!in.a.defined()) return {out.dx, out.dgain.grad, out.dbias.grad};
    return {out.dx, out.da, out.dalpha.grad, out.dgain.grad, out.dbias.grad};
  });
}

}  // namespace

namespace cpu {

void layer_norm_forward(const Tensor& y, const Tensor& stats, const LayerNormRows& in, const Tensor& gain,
                        const Tensor& bias, const LayerNormOptions& options) {
  dispatch_float(y.dtype(), "layer_norm", [&]<class T>() { forward<T>(y, stats, in, gain, bias, options); });
}

void layer_norm_backward(const LayerNormGrads& out, const Tensor& dy, const LayerNormRows& in,
                         const Tensor& gain, const Tensor& stats, const LayerNormOptions& options) {
  dispatch_float(dy.dtype(), "layer_norm",
                 [&]<class T>() { backward<T>(out, dy, in, gain, stats, options); });
}

}  // namespace cpu

Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, const LayerNormOptions& options) {
  return normalise("layer_norm", {x, Tensor(), Tensor()}, gain, bias, options);
}

Tensor residual_layer_norm(const Tensor& q, const Tensor& a, const Tensor& alpha, const Tensor& gain,
                           const Tensor& bias, const LayerNormOptions& options) {
  const MainOperand main{"residual_layer_norm", "q", q};
  check_floating(main.op, {{"q", q}});
  check_operand(main, "a", a, q.shape(), q.dtype());
  check_operand(main, "alpha", alpha, {1}, parameter_dtype(q.dtype()));
  return normalise("residual_layer_norm", {q, a, alpha}, gain, bias, options);
}

}  // namespace tandem
