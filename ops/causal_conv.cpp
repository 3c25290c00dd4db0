// causal_conv on the CPU: rows of channels, one tap of the filter after another.
#include "tandem/ops/causal_conv.h"

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

template <class T>
TANDEM_INLINE void add_product_body(T* y, const T* a, const T* b, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] += a[j] * b[j];
}
TANDEM_SIMD void add_product(float* y, const float* a, const float* b, int64_t n) {
  add_product_body(y, a, b, n);
}
TANDEM_SIMD void add_product(double* y, const double* a, const double* b, int64_t n) {
  add_product_body(y, a, b, n);
}

// y (columns, rows) = the transpose of x (rows, columns), added to y if `accumulate`.
template <class T>
void transpose(T* y, const T* x, int64_t rows, int64_t columns, bool accumulate) {
  for (int64_t j = 0; j < columns; ++j)
    for (int64_t i = 0; i < rows; ++i) {
      T& to = y[j * rows + i];
      to = x[i * columns + j] + (accumulate ? to : T(0));
    }
}

// Returns weight (C, K) as taps (K, C), so that a tap is a row.
template <class T>
Tensor taps_of(const Tensor& weight) {
  const Tensor taps({weight.size(1), weight.size(0)}, weight.dtype());
  transpose(taps.data<T>(), weight.data<T>(), weight.size(0), weight.size(1), false);
  return taps;
}

// Computes the steps first .. out.steps - 1 of `out`: the bias, or 0, plus the sum over the taps (K, C) of tap
// k times the row of `in` that lies K - 1 - k steps before or, going back, after.
template <class T>
void filter(const TimeSteps<T>& out, int64_t first, const TimeSteps<const T>& in, const Tensor& taps,
            const Tensor& bias, bool back) {
  const int64_t width = taps.size(0), channels = taps.size(1), batch = channels > 0 ? out.size / channels : 0;
  const T *taps_data = taps.data<T>(), *bias_data = data_or_null<T>(bias);
  cpu::for_rows(
      (out.steps - first) * batch, channels * width,
      [out, first, in, width, channels, batch, taps_data, bias_data, back](int64_t row, int64_t end) {
        for (; row < end; ++row) {
          const int64_t t = first + row / batch, column = row % batch * channels;
          T* const to = out.at(t) + column;
          if (bias_data)
            std::copy_n(bias_data, channels, to);
          else
            std::fill_n(to, channels, T(0));
          for (int64_t k = 0; k < width; ++k) {
            const int64_t ago = width - 1 - k;
            const T* const from = in.at(back ? t + ago : t - ago);
            if (from) add_product(to, taps_data + k * channels, from + column, channels);
          }
        }
      });
}

template <class T>
void forward(const Tensor& y, const CausalConvInputs& in) {
  const Tensor taps = taps_of<T>(in.weight);
  const int64_t width = taps.size(0);
  filter(time_steps<T>(y, Tensor(), y, width), 0, time_steps<const T>(in.x, in.prefix, y, width), taps,
         in.bias, false);
}

// Returns (K + 1, C): for each tap the sum over t and b of dy times the row of x that it multiplies, and in the
// last row the sum of dy, the bias being a tap that multiplies ones.
template <class T>
Tensor weight_sums(const Tensor& dy, const CausalConvInputs& in) {
  const int64_t width = in.weight.size(1), channels = dy.size(2), batch = dy.size(1);
  const int64_t rows = dy.size(0) * batch;
  const SumChunks chunks(rows);
  const Tensor sums = zeros({chunks.count, width + 1, channels}, dy.dtype());
  const Tensor ones = full({channels}, 1, dy.dtype());
  const TimeSteps<const T> x = time_steps<const T>(in.x, in.prefix, dy, width);
  const T *dy_data = dy.data<T>(), *one = ones.data<T>();
  T* const sums_data = sums.data<T>();
  cpu::for_blocks(rows, chunks.rows, channels * (width + 1),
                  [x, dy_data, one, sums_data, width, channels, batch, chunks](int64_t row, int64_t end) {
                    T* const sum = sums_data + row / chunks.rows * (width + 1) * channels;
                    for (; row < end; ++row) {
                      const int64_t t = row / batch, column = row % batch * channels;
                      const T* const dy_row = dy_data + row * channels;
                      for (int64_t k = 0; k < width; ++k)
                        if (const T* const from = x.at(t - (width - 1 - k)))
                          add_product(sum + k * channels, dy_row, from + column, channels);
                      add_product(sum + width * channels, dy_row, one, channels);
                    }
                  });
  const Tensor total({width + 1, channels}, dy.dtype());
  cpu::sum_axis(total, sums, {1, chunks.count, total.numel()}, 1.0, false);
  return total;
}

//     dx[t] = sum over k of weight[k] dy[t + K - 1 - k], and dprefix likewise, at t = -(K - 1)..-1
//     dweight[k] = sum over t and b of dy[t] x[t - K + 1 + k]        dbias = sum over t and b of dy[t]
template <class T>
void backward(const CausalConvGrads& out, const Tensor& dy, const CausalConvInputs& in) {
  const int64_t width = in.weight.size(1);
  if (out.dx.defined() || out.dprefix.defined()) {
    const TimeSteps<T> to = time_steps<T>(out.dx, out.dprefix, dy, width);
    filter(to, out.dprefix.defined() ? 1 - width : 0, time_steps<const T>(dy, Tensor(), dy, width),
           taps_of<T>(in.weight), Tensor(), true);
  }
  if (!out.dweight.grad.defined() && !out.dbias.grad.defined()) return;
  const Tensor sums = weight_sums<T>(dy, in);
  const int64_t channels = sums.size(1);
  if (out.dweight.grad.defined())
    transpose(out.dweight.grad.data<T>(), sums.data<T>(), width, channels, out.dweight.accumulate);
  if (out.dbias.grad.defined())
    transpose(out.dbias.grad.data<T>(), sums.data<T>() + width * channels, 1, channels, out.dbias.accumulate);
}

void check_inputs(const CausalConvInputs& in) {
  const Tensor &x = in.x, &weight = in.weight;
  check_floating("causal_conv", {{"x", x}});
  check_defined("causal_conv", {{"weight", weight}});
  TANDEM_CHECK(x.rank() == 3, "causal_conv: x is {}; it must be (T, B, C)", x.shape().str());
  TANDEM_CHECK(weight.rank() == 2 && weight.size(1) >= 1,
               "causal_conv: weight is {}; it must be (C, K), at least one tap for each channel",
               weight.shape().str());
  const int64_t channels = x.size(2), taps = weight.size(1);
  const DType parameter = parameter_dtype(x.dtype());
  const MainOperand main{"causal_conv", "x", x};
  check_operand(main, "weight", weight, {channels, taps}, parameter);
  if (in.bias.defined()) check_operand(main, "bias", in.bias, {channels}, parameter);
  if (!in.prefix.defined()) return;
  TANDEM_CHECK(
      in.prefix.rank() == 3 && in.prefix.size(0) == taps - 1,
      "causal_conv: prefix is {}; with weight {} it must be ({}, B, C), a row for each tap but the last",
      in.prefix.shape().str(), weight.shape().str(), taps - 1);
  check_operand(main, "prefix", in.prefix, {taps - 1, x.size(1), channels}, x.dtype());
}

}  // namespace

namespace cpu {

void causal_conv_forward(const Tensor& y, const CausalConvInputs& in) {
  dispatch_float(y.dtype(), "causal_conv", [&]<class T>() { forward<T>(y, in); });
}

void causal_conv_backward(const CausalConvGrads& out, const Tensor& dy, const CausalConvInputs& in) {
  dispatch_float(dy.dtype(), "causal_conv", [&]<class T>() { backward<T>(out, dy, in); });
}

}  // namespace cpu

Tensor causal_conv(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& prefix) {
  const CausalConvInputs in{x, weight, bias, prefix};
  check_inputs(in);
  const Tensor y = empty_like(x);
  TANDEM_DISPATCH(x.device(), causal_conv_forward(y, in));
  return record("causal_conv", y, {x, weight, bias, prefix}, [in](const Tensor& dy) -> Grads {
    CausalConvGrads out;
    if (needs_grad(in.x)) out.dx = empty_like(in.x);
    if (needs_grad(in.prefix)) out.dprefix = empty_like(in.prefix);
    out.dweight = grad_target(in.weight);
    out.dbias = grad_target(in.bias);
    TANDEM_DISPATCH(dy.device(), causal_conv_backward(out, dy, in));
    return {out.dx, out.dweight.grad, out.dbias.grad, out.dprefix};
  });
}

}  // namespace tandem
