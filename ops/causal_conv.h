// causal_conv: a depthwise convolution over time in which no output sees a later input, (T, B, C).
//
// Each channel has a filter of its own.
// So et al., "Primer" (NeurIPS 2021), width 3, after the projections of attention; So, Liang and Le, "The
// Evolved Transformer" (ICML 2019), widths 7 and 11, the depthwise part of its separable convolutions.
#pragma once
#include <type_traits>

#include "tandem/autograd/accumulate.h"
#include "tandem/core/macros.h"
#include "tandem/core/tensor.h"

namespace tandem {

// Computes, from x (T, B, C), weight (C, K) and bias (C), which may be undefined, y (T, B, C):
//
//     y[t, c] = bias[c] + sum over k = 0..K-1 of weight[c, k] x[t - K + 1 + k, c]
//
// The K - 1 steps before x are `prefix` (K - 1, B, C), the last ones of the segment before, or zeros if it is
// undefined. T may be smaller than K - 1. Gradients flow to all four inputs. All are f32 or all are f64; on a
// GPU x and prefix may be bf16, and then weight and bias are f32. Error: another shape, dtype or device.
Tensor causal_conv(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Tensor& prefix = {});

struct CausalConvInputs {
  Tensor x, weight, bias, prefix;
};
// The gradients to compute. A field is undefined if its gradient is not wanted.
struct CausalConvGrads {
  Tensor dx, dprefix;
  GradTarget dweight, dbias;
};

// Time steps of (B, C): those of a sequence, 0 .. steps - 1, and before them those of a prefix, -before .. -1.
template <class T>
struct TimeSteps {
  T *first, *prefix;  // elements of step 0 and of step -before; prefix may be null
  int64_t steps, before;
  int64_t size;  // elements of a step, B C

  // Returns step t, or null if there is no such step.
  TANDEM_HD TANDEM_INLINE T* at(int64_t t) const {
    if (t < 0) return prefix ? prefix + (before + t) * size : nullptr;
    return t < steps ? first + t * size : nullptr;
  }
};

// Returns the time steps of x and of its prefix, either of which may be undefined; `like` has their B and C.
template <class T>
TimeSteps<T> time_steps(const Tensor& x, const Tensor& prefix, const Tensor& like, int64_t taps) {
  using Element = std::remove_const_t<T>;
  return {.first = x.defined() ? x.data<Element>() : nullptr,
          .prefix = prefix.defined() ? prefix.data<Element>() : nullptr,
          .steps = x.defined() ? x.size(0) : 0,
          .before = taps - 1,
          .size = like.size(1) * like.size(2)};
}

namespace cpu {
void causal_conv_forward(const Tensor& y, const CausalConvInputs& in);
void causal_conv_backward(const CausalConvGrads& out, const Tensor& dy, const CausalConvInputs& in);
}  // namespace cpu

namespace cuda {
void causal_conv_forward(const Tensor& y, const CausalConvInputs& in);
void causal_conv_backward(const CausalConvGrads& out, const Tensor& dy, const CausalConvInputs& in);
}  // namespace cuda

}  // namespace tandem
