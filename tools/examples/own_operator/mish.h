// mish: y = x tanh(log(1 + e^x)), element by element, an operator that Tandem does not have.
//
// Misra, "Mish: A Self Regularized Non-Monotonic Activation Function" (BMVC 2020).
#pragma once
#include <cmath>

#include "tandem/core/macros.h"
#include "tandem/core/tensor.h"

namespace mine {

using tandem::Tensor;

// Computes y for x of any shape, on a CPU in f32 or f64, on a GPU in bf16 too. Error: x has another dtype.
Tensor mish(const Tensor& x);

// Returns t = tanh(log(1 + e^x)). With n = e^x (e^x + 2) this is n / (n + 2), and 1 where n would overflow.
template <class T>
TANDEM_HD TANDEM_INLINE T mish_gate(T x) {
  if (x > T(20)) return T(1);
  const T e = std::exp(x), n = e * (e + T(2));
  return n / (n + T(2));
}

// The arithmetic of one element is written once, for the CPU loop and the CUDA kernel.
template <class T>
TANDEM_HD TANDEM_INLINE T mish_value(T x) {
  return x * mish_gate(x);
}

// dy/dx = t + x (1 - t^2) sigmoid(x).
template <class T>
TANDEM_HD TANDEM_INLINE T mish_derivative(T x) {
  const T t = mish_gate(x);
  return t + x * (T(1) - t * t) / (T(1) + std::exp(-x));
}

// The kernels have one signature on both devices: outputs first, then inputs.
namespace cpu {
void mish_forward(const Tensor& y, const Tensor& x);
void mish_backward(const Tensor& dx, const Tensor& dy, const Tensor& x);
}  // namespace cpu

namespace cuda {
void mish_forward(const Tensor& y, const Tensor& x);
void mish_backward(const Tensor& dx, const Tensor& dy, const Tensor& x);
}  // namespace cuda

}  // namespace mine
