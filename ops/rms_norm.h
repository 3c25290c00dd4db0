// rms_norm: rows divided by their root mean square, times a gain.
//
// Zhang and Sennrich, "Root Mean Square Layer Normalization" (NeurIPS 2019).
#pragma once
#include "tandem/autograd/accumulate.h"
#include "tandem/core/macros.h"
#include "tandem/core/tensor.h"

namespace tandem {

// Computes y = x / sqrt(mean(x^2) + eps) * gain for each row of x (..., D). gain is (D); if it is undefined, it
// is 1. Divided by sqrt(D), the result without gain is x over its length: rows of length 1. All are f32 or all
// are f64; on a GPU x may be bf16 with gain f32.
// Error: another shape, dtype or device; a last axis without elements; eps is not positive.
Tensor rms_norm(const Tensor& x, const Tensor& gain = {}, double eps = 1e-6);

// Computes one element of dx, with g = dy gain, x_hat = x rstd, and the row's mean of g x_hat.
template <class T>
TANDEM_HD TANDEM_INLINE T rms_norm_element_backward(T g, T x_hat, T rstd, T mean_gx) {
  return rstd * (g - x_hat * mean_gx);
}

// The gradients to compute. A field is undefined if its gradient is not wanted.
struct RmsNormGrads {
  Tensor dx;
  GradTarget dgain;
};

namespace cpu {
// rstd (rows), of the dtype of parameters, receives 1 / sqrt(mean(x^2) + eps) of each row.
void rms_norm_forward(const Tensor& y, const Tensor& rstd, const Tensor& x, const Tensor& gain, double eps);
void rms_norm_backward(const RmsNormGrads& out, const Tensor& dy, const Tensor& x, const Tensor& gain,
                       const Tensor& rstd);
}  // namespace cpu

namespace cuda {
void rms_norm_forward(const Tensor& y, const Tensor& rstd, const Tensor& x, const Tensor& gain, double eps);
void rms_norm_backward(const RmsNormGrads& out, const Tensor& dy, const Tensor& x, const Tensor& gain,
                       const Tensor& rstd);
}  // namespace cuda

}  // namespace tandem
