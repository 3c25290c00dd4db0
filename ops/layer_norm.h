// layer_norm: rows of mean 0 and variance 1, scaled and shifted; alone or after a residual sum, with dropout.
//
// Ba, Kiros and Hinton, "Layer Normalization" (2016).
#pragma once
#include "tandem/autograd/accumulate.h"
#include "tandem/core/macros.h"
#include "tandem/core/tensor.h"
#include "tandem/ops/dropout.h"

namespace tandem {

struct LayerNormOptions {
  double eps = 1e-5;
  double dropout =
      0;  // probability of dropping an element of the result; the mask is that of dropout(y, p, key)
  DropoutKey key = {};
};

// Computes y = (x - mean) / sqrt(variance + eps) * gain + bias for each row of x (..., D), then dropout. The
// variance divides by D. gain and bias are (D). All are f32 or all are f64; on a GPU x may be bf16 with gain
// and bias f32.
// Error: another shape, dtype or device; eps is not positive; a probability outside [0, 1).
Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias,
                  const LayerNormOptions& options = {});

// Computes layer_norm(q + alpha a) in one pass, the end of SRU++'s attention. q and a are (..., D); alpha (1)
// is learned and has gain's dtype. Saved for backward are q, a and two numbers for each row. Error: as above.
Tensor residual_layer_norm(const Tensor& q, const Tensor& a, const Tensor& alpha, const Tensor& gain,
                           const Tensor& bias, const LayerNormOptions& options = {});

// Computes one element, for the CPU loop and the CUDA kernel. `rstd` is 1 / sqrt(variance + eps).
template <class T>
TANDEM_HD TANDEM_INLINE T layer_norm_element(T x, T mean, T rstd, T gain, T bias) {
  return (x - mean) * rstd * gain + bias;
}
// Computes one element of dx, with g = dy gain, x_hat = (x - mean) rstd, and the row's means of g and of g
// x_hat.
template <class T>
TANDEM_HD TANDEM_INLINE T layer_norm_element_backward(T g, T x_hat, T rstd, T mean_g, T mean_gx) {
  return rstd * (g - mean_g - x_hat * mean_gx);
}

// The rows to normalise: x, or x + alpha a if a is defined.
struct LayerNormRows {
  Tensor x, a, alpha;
};
// The gradients to compute. A field is undefined if its gradient is not wanted.
struct LayerNormGrads {
  Tensor dx, da;
  GradTarget dalpha, dgain, dbias;
};

namespace cpu {
// stats (rows, 2), of gain's dtype, receives mean and rstd of each row.
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
