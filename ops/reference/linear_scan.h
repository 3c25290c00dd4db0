// The linear recurrence, one column of the batch at a time, with its coefficients as the papers write them.
#pragma once
#include <cmath>

#include "tandem/core/tensor.h"
#include "tandem/ops/linear_scan.h"
#include "tandem/ops/reference/activation.h"

namespace tandem::reference {

// p, q (T, B, D), h0 (B, D) or undefined for zeros:  h = a h + b, with
//
//     coefficients   a = p                  b = q
//     min_gru        a = 1 - sigmoid(p)     b = sigmoid(p) g(q),  g(q) = q + 1/2 for q >= 0, sigmoid(q) below
//     rg_lru         a = e^p                b = sqrt(1 - a^2) q;  b = q in the first step if h0 is undefined
inline LinearScanResult linear_scan(const Tensor& p, const Tensor& q, const Tensor& h0, ScanForm form) {
  const int64_t steps = p.size(0), columns = p.size(1) * p.size(2);
  Tensor h(p.shape(), DType::f64), h_last(p.shape().tail(), DType::f64);
  for (int64_t j = 0; j < columns; ++j) {
    double state = h0.defined() ? h0.data<double>()[j] : 0;
    for (int64_t t = 0; t < steps; ++t) {
      const double x = p.data<double>()[t * columns + j], y = q.data<double>()[t * columns + j];
      double a = x, b = y;
      if (form == ScanForm::min_gru) {
        a = 1 - sigmoid(x);
        b = sigmoid(x) * (y >= 0 ? y + 0.5 : sigmoid(y));
      } else if (form == ScanForm::rg_lru) {
        a = std::exp(x);
        b = t == 0 && !h0.defined() ? y : std::sqrt(1 - a * a) * y;
      }
      state = a * state + b;
      h.data<double>()[t * columns + j] = state;
    }
    h_last.data<double>()[j] = state;
  }
  return {h, h_last};
}

}  // namespace tandem::reference
