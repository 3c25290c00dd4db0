// One LSTM layer, one unit of one step at a time.
#pragma once
#include <cmath>

#include "tandem/core/tensor.h"
#include "tandem/ops/lstm.h"
#include "tandem/ops/reference/activation.h"

namespace tandem::reference {

// x (T, B, I), h0 and c0 (B, H) or undefined for zeros. At each step:
//
//     i, f, g, o = the four quarters of  x W^T + input_bias + h U^T + hidden_bias        (W: input, U: hidden)
//     c = sigmoid(f) c + sigmoid(i) tanh(g)                 h = sigmoid(o) tanh(c)
inline LstmResult lstm(const Tensor& x, const LstmWeights& weights, const Tensor& h0, const Tensor& c0) {
  const int64_t steps = x.size(0), batch = x.size(1), in = x.size(2), width = weights.hidden.size(1);
  const Tensor y({steps, batch, width}, DType::f64);
  const Tensor c = c0.defined() ? c0.clone() : zeros({batch, width}, DType::f64);
  Tensor h = h0.defined() ? h0.clone() : zeros({batch, width}, DType::f64);
  const auto dot = [](const double* a, const double* b, int64_t n) {
    double sum = 0;
    for (int64_t k = 0; k < n; ++k) sum += a[k] * b[k];
    return sum;
  };
  for (int64_t t = 0; t < steps; ++t) {
    const Tensor h_after({batch, width}, DType::f64);
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t j = 0; j < width; ++j) {
        const auto gate = [&](int64_t quarter) {
          const int64_t row = quarter * width + j;
          return dot(x.data<double>() + (t * batch + b) * in, weights.input.data<double>() + row * in, in) +
                 dot(h.data<double>() + b * width, weights.hidden.data<double>() + row * width, width) +
                 weights.input_bias.data<double>()[row] + weights.hidden_bias.data<double>()[row];
        };
        double& cell = c.data<double>()[b * width + j];
        cell = sigmoid(gate(1)) * cell + sigmoid(gate(0)) * std::tanh(gate(2));
        h_after.data<double>()[b * width + j] = sigmoid(gate(3)) * std::tanh(cell);
        y.data<double>()[(t * batch + b) * width + j] = h_after.data<double>()[b * width + j];
      }
    h = h_after;
  }
  return {y, h, c};
}

}  // namespace tandem::reference
