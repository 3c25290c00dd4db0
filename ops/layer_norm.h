// layer_norm: each row brought to mean 0 and variance 1, then scaled and shifted; alone, or after a scaled
// residual sum, and with dropout of the result.
//
// Ba, Kiros and Hinton, "Layer Normalization" (2016).
#pragma once
#include "autograd/accumulate.h"
#include "core/macros.h"
#include "core/tensor.h"
#include "ops/dropout.h"

namespace tandem {

struct LayerNormOptions {
  double eps = 1e-5;
  double dropout = 0;  // probability of dropping; the mask is that of dropout(y, p, key), drawn and forgotten
  DropoutKey key = {};
};

// y = (x - mean) / sqrt(variance + eps) * gain + bias over the last axis, then dropout; the variance divides
// by D. x is (..., D), gain and bias (D); all f32 or all f64, or on a GPU bf16 with gain and bias f32. Error:
// another shape, dtype or device; eps is not positive; a probability outside [0, 1).
Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias,
                  const LayerNormOptions& options = {});

// layer_norm(q + alpha a) in one pass: the end of SRU++'s attention, with alpha (1) learned, of gain's dtype.
// q and a are (..., D). What backward keeps is q and a, which their makers' neighbours keep anyway, and two
// numbers a row.
Tensor residual_layer_norm(const Tensor& q, const Tensor& a, const Tensor& alpha, const Tensor& gain,
                           const Tensor& bias, const LayerNormOptions& options = {});

// One element, for the CPU loop and the CUDA kernel. `rstd` is 1 / sqrt(variance + eps).
template <class T>
TANDEM_HD TANDEM_INLINE T layer_norm_element(T x, T mean, T rstd, T gain, T bias) {
  return (x - mean) * rstd * gain + bias;
}
// g = dy gain; mean_g and mean_gx are the row's means of g and of g x_hat.
template <class T>
TANDEM_HD TANDEM_INLINE T layer_norm_element_backward(T g, T x_hat, T rstd, T mean_g, T mean_gx) {
  return rstd * (g - mean_g - x_hat * mean_gx);
}

// The rows that are normalised: x, or x + alpha a where a is defined.
struct LayerNormRows {
  Tensor x, a, alpha;
};
// Each is undefined where it is not wanted.
struct LayerNormGrads {
  Tensor dx, da;
  GradTarget dalpha, dgain, dbias;
};

namespace cpu {
// stats (rows, 2), of gain's dtype: mean and rstd of each row.
void layer_norm_forward(const Tensor& y, const Tensor& stats, const LayerNormRows& in, const Tensor& gain,
                        const Tensor& bias, const LayerNormOptions& options);
void layer_norm_backward(const LayerNormGrads& out, const Tensor& dy, const LayerNormRows& in,
                         const Tensor& gain, const Tensor& stats, const LayerNormOptions& options);
}  // namespace cpu

namespace cuda {
void layer_norm_forward(const Tensor& y, const Tensor& stats, const LayerNormRows& in, const Tensor& gain,
                        const Tensor& bias, const LayerNormOptions& options);
void layer_norm_backward(const LayerNormGrads& out, const Tensor& dy, const LayerNormRows& in,
                         const Tensor& gain, const Tensor& stats, const LayerNormOptions& options);
}  // namespace cuda

}  // namespace tandem
