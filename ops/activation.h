// activation: relu, squared_relu, sigmoid, tanh, silu, gelu (three forms), exp, log, sqrt, square.
#pragma once
#include <cmath>

#include "tandem/core/macros.h"
#include "tandem/core/math.h"
#include "tandem/core/tensor.h"

namespace tandem {

enum class Activation {
  relu,
  squared_relu,
  sigmoid,
  tanh,
  silu,
  gelu_erf,
  gelu_tanh,
  gelu_sigmoid1702,
  exp,
  log,
  sqrt,
  square
};

// Computes y = f(x), element by element, for any shape. Outside a function's domain the result is NaN or
// infinite, as in <cmath>. Error: x is not floating.
Tensor activation(const Tensor& x, Activation kind);

inline Tensor relu(const Tensor& x) {
  return activation(x, Activation::relu);
}
inline Tensor squared_relu(const Tensor& x) {
  return activation(x, Activation::squared_relu);
}
inline Tensor sigmoid(const Tensor& x) {
  return activation(x, Activation::sigmoid);
}
inline Tensor tanh(const Tensor& x) {
  return activation(x, Activation::tanh);
}
inline Tensor silu(const Tensor& x) {
  return activation(x, Activation::silu);
}
inline Tensor exp(const Tensor& x) {
  return activation(x, Activation::exp);
}
inline Tensor log(const Tensor& x) {
  return activation(x, Activation::log);
}
inline Tensor sqrt(const Tensor& x) {
  return activation(x, Activation::sqrt);
}
inline Tensor square(const Tensor& x) {
  return activation(x, Activation::square);
}

// Three functions go by the name of GELU, and a model's published numbers hold for one of them only. erf is the
// definition, the other two approximate it. Hendrycks and Gimpel, "Gaussian error linear units" (2016).
enum class Gelu { erf, tanh, sigmoid1702 };
Tensor gelu(const Tensor& x, Gelu form);

// Computes the error function; in f32 within 3e-7.
TANDEM_HD TANDEM_INLINE float fast_erf(float x) {
  // |x| < 1: the Taylor series. Else 1 - q(1 / (1 + c |x|)) exp(-x^2), Abramowitz and Stegun, formula 7.1.26.
  // The series ends with a sum: ended with a product, its last operation would be fused with an addition of the caller in
  // scalar code, and not in vector code, which computes both branches; the bits would depend on an element's place.
  const float x2 = x * x, size = std::fabs(x), linear = x * 1.128379167f;
  const float series =
      linear +
      linear * x2 *
          (-1.0f / 3 +
           x2 * (1.0f / 10 +
                 x2 * (-1.0f / 42 +
                       x2 * (1.0f / 216 + x2 * (-1.0f / 1320 +
                                                x2 * (1.0f / 9360 + x2 * (-1.0f / 75600 + x2 / 685440)))))));
  const float t = 1.0f / (1.0f + 0.3275911f * size);
  const float q =
      t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const float tail = std::copysign(1.0f - q * fast_exp(-x2), x);
  return size < 1.0f ? series : tail;
}
TANDEM_HD TANDEM_INLINE double fast_erf(double x) {
  return std::erf(x);
}

inline constexpr double kGeluTanhScale = 0.79788456080286535588;  // sqrt(2 / pi)
inline constexpr double kGeluTanhCubic = 0.044715;

// Computes f(x) of one element, for the CPU loop and the CUDA kernel.
template <Activation kind, class T>
TANDEM_HD TANDEM_INLINE T activation_value(T x) {
  using A = Activation;
  if constexpr (kind == A::relu) return x > T(0) ? x : x != x ? x : T(0);
  if constexpr (kind == A::squared_relu) return x > T(0) ? x * x : x != x ? x : T(0);
  if constexpr (kind == A::sigmoid) return ::tandem::sigmoid(x);
  if constexpr (kind == A::tanh) return fast_tanh(x);
  if constexpr (kind == A::silu) return x * ::tandem::sigmoid(x);
  if constexpr (kind == A::gelu_erf) return T(0.5) * x * (T(1) + fast_erf(x * T(0.70710678118654752440)));
  if constexpr (kind == A::gelu_tanh)
    return T(0.5) * x * (T(1) + fast_tanh(T(kGeluTanhScale) * (x + T(kGeluTanhCubic) * x * x * x)));
  if constexpr (kind == A::gelu_sigmoid1702) return x * ::tandem::sigmoid(T(1.702) * x);
  if constexpr (kind == A::exp) return fast_exp(x);
  if constexpr (kind == A::log) return std::log(x);
  if constexpr (kind == A::sqrt) return std::sqrt(x);
  if constexpr (kind == A::square) return x * x;
}

// True if the derivative is computed from y (relu, sigmoid, ...); then y is saved for backward, else x.
TANDEM_HD constexpr bool saves_output(Activation kind) {
  using A = Activation;
  return kind == A::relu || kind == A::sigmoid || kind == A::tanh || kind == A::exp || kind == A::sqrt;
}

// Computes dy/dx of one element from `saved`, which is y or x as saves_output() says. Where two products would be added, one
// ends with a sum: which of them is fused with the addition would be the compiler's choice, in each loop another.
template <Activation kind, class T>
TANDEM_HD TANDEM_INLINE T activation_derivative(T saved) {
  using A = Activation;
  [[maybe_unused]] const T x = saved, y = saved;
  if constexpr (kind == A::relu) return y > T(0) ? T(1) : T(0);
  if constexpr (kind == A::squared_relu) return x > T(0) ? x + x : T(0);
  if constexpr (kind == A::sigmoid) return y * (T(1) - y);
  if constexpr (kind == A::tanh) return T(1) - y * y;
  if constexpr (kind == A::silu || kind == A::gelu_sigmoid1702) {
    const T k = kind == A::silu ? T(1) : T(1.702);
    const T s = ::tandem::sigmoid(k * x);
    return s + k * x * s * (T(1) - s);
  }
  if constexpr (kind == A::gelu_erf)  // Phi(x) + x phi(x), distribution and density of the standard normal
    return (T(0.5) + T(0.5) * fast_erf(x * T(0.70710678118654752440))) +
           x * T(0.39894228040143267794) * fast_exp(T(-0.5) * x * x);
  if constexpr (kind == A::gelu_tanh) {
    const T t = fast_tanh(T(kGeluTanhScale) * (x + T(kGeluTanhCubic) * x * x * x));
    return T(0.5) * (T(1) + t) +
           T(0.5) * x * (T(1) - t * t) * T(kGeluTanhScale) * (T(1) + T(3 * kGeluTanhCubic) * x * x);
  }
  if constexpr (kind == A::exp) return y;
  if constexpr (kind == A::log) return T(1) / x;
  if constexpr (kind == A::sqrt) return T(0.5) / y;
  if constexpr (kind == A::square) return x + x;
}

namespace cpu {
void activation_forward(const Tensor& y, const Tensor& x, Activation kind);
void activation_backward(const Tensor& dx, const Tensor& dy, const Tensor& saved, Activation kind);
}  // namespace cpu

namespace cuda {
void activation_forward(const Tensor& y, const Tensor& x, Activation kind);
void activation_backward(const Tensor& dx, const Tensor& dy, const Tensor& saved, Activation kind);
}  // namespace cuda

}  // namespace tandem
