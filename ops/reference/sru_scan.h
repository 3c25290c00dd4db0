// The recurrence of the Simple Recurrent Unit, one column of the batch at a time.
#pragma once
#include <cmath>

#include "tandem/core/tensor.h"
#include "tandem/ops/reference/activation.h"
#include "tandem/ops/sru_scan.h"

namespace tandem::reference {

// u (T, B, 3 D) or (T, B, 4 D), x (T, B, D) or undefined, weight_c and bias (2 D), c0 (B, D) or undefined for
// zeros. At each step, with v_f, v_r the halves of weight_c and b_f, b_r those of bias:
//
//     f = sigmoid(u_f + v_f c + b_f)        r = sigmoid(u_r + v_r c + b_r)
//     c = f c + (1 - f) u_c                 h = m r g(c) + (1 - m r) skip        g: tanh or the identity
//
// The skip is the fourth plane of u, rescale * x, or 0; m is the mask.
inline SruScanResult sru_scan(const Tensor& u, const Tensor& x, const Tensor& weight_c, const Tensor& bias,
                              const Tensor& c0, const SruScanOptions& options) {
  const int64_t steps = u.size(0), batch = u.size(1), width = weight_c.numel() / 2;
  const int64_t planes = u.size(2) / width;
  const double *v = weight_c.data<double>(), *biases = bias.data<double>();
  Tensor h({steps, batch, width}, DType::f64), c_last({batch, width}, DType::f64);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t j = 0; j < width; ++j) {
      const double m = options.mask.defined() ? options.mask.data<double>()[b * width + j] : 1;
      double c = c0.defined() ? c0.data<double>()[b * width + j] : 0;
      for (int64_t t = 0; t < steps; ++t) {
        const int64_t at = (t * batch + b) * width + j;
        const double* plane = u.data<double>() + (t * batch + b) * planes * width + j;
        double skip = 0;
        if (planes == 4) skip = plane[3 * width];
        if (x.defined()) skip = options.rescale * x.data<double>()[at];
        const double f = sigmoid(plane[width] + v[j] * c + biases[j]);
        const double r = sigmoid(plane[2 * width] + v[width + j] * c + biases[width + j]);
        c = f * c + (1 - f) * plane[0];
        const double g = options.tanh ? std::tanh(c) : c;
        h.data<double>()[at] = m * r * g + (1 - m * r) * skip;
      }
      c_last.data<double>()[b * width + j] = c;
    }
  return {h, c_last};
}

}  // namespace tandem::reference
