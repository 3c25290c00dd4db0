// elementwise: abs, clamp, pow and softplus, and arithmetic with a number: x + 1.0, 1.0 - x, x / 2.0.
#pragma once
#include <cmath>

#include "tandem/core/macros.h"
#include "tandem/core/tensor.h"

namespace tandem {

// Functions of one element x and up to two numbers.
enum class Elementwise {
  add_number,     // x + a
  subtract_from,  // a - x
  divide_by,      // x / a
  abs,            // |x|; the gradient at 0 is 0
  clamp,          // min(max(x, a), b); no gradient flows where x lies outside
  pow,            // x^a; NaN for x < 0 unless a is a whole number
  softplus,       // log(1 + e^x), without overflow
};

// Computes y = f(x; a, b), element by element, for any shape. Error: x is undefined or not floating; a number is NaN;
// clamp with a > b.
Tensor elementwise(const Tensor& x, Elementwise kind, double a = 0, double b = 0);

inline Tensor abs(const Tensor& x) {
  return elementwise(x, Elementwise::abs);
}
inline Tensor clamp(const Tensor& x, double low, double high) {
  return elementwise(x, Elementwise::clamp, low, high);
}
inline Tensor pow(const Tensor& x, double exponent) {
  return elementwise(x, Elementwise::pow, exponent);
}
inline Tensor softplus(const Tensor& x) {
  return elementwise(x, Elementwise::softplus);
}
inline Tensor operator+(const Tensor& x, double number) {
  return elementwise(x, Elementwise::add_number, number);
}
inline Tensor operator+(double number, const Tensor& x) {
  return elementwise(x, Elementwise::add_number, number);
}
inline Tensor operator-(const Tensor& x, double number) {
  return elementwise(x, Elementwise::add_number, -number);
}
inline Tensor operator-(double number, const Tensor& x) {
  return elementwise(x, Elementwise::subtract_from, number);
}
inline Tensor operator/(const Tensor& x, double number) {
  return elementwise(x, Elementwise::divide_by, number);
}

// Computes f of one element, for the CPU loop and the CUDA kernel.
template <Elementwise kind, class T>
TANDEM_HD TANDEM_INLINE T elementwise_value(T x, T a, T b) {
  using E = Elementwise;
  if constexpr (kind == E::add_number) return x + a;
  if constexpr (kind == E::subtract_from) return a - x;
  if constexpr (kind == E::divide_by) return x / a;
  if constexpr (kind == E::abs) return std::fabs(x);
  if constexpr (kind == E::clamp) return x < a ? a : x > b ? b : x;
  if constexpr (kind == E::pow) return std::pow(x, a);
  if constexpr (kind == E::softplus) return (x > T(0) ? x : T(0)) + std::log1p(std::exp(-std::fabs(x)));
}

// Computes df/dx of one element.
template <Elementwise kind, class T>
TANDEM_HD TANDEM_INLINE T elementwise_derivative(T x, T a, T b) {
  using E = Elementwise;
  if constexpr (kind == E::add_number) return T(1);
  if constexpr (kind == E::subtract_from) return T(-1);
  if constexpr (kind == E::divide_by) return T(1) / a;
  if constexpr (kind == E::abs) return x > T(0) ? T(1) : x < T(0) ? T(-1) : x;  // 0 at 0, NaN at NaN
  if constexpr (kind == E::clamp) return x >= a && x <= b ? T(1) : T(0);
  if constexpr (kind == E::pow) return a == T(0) ? T(0) : a * std::pow(x, a - T(1));
  if constexpr (kind == E::softplus) return T(1) / (T(1) + std::exp(-x));
}

namespace cpu {
void elementwise_forward(const Tensor& y, const Tensor& x, Elementwise kind, double a, double b);
// dx = dy f'(x)
void elementwise_backward(const Tensor& dx, const Tensor& dy, const Tensor& x, Elementwise kind, double a,
                          double b);
}  // namespace cpu

namespace cuda {
void elementwise_forward(const Tensor& y, const Tensor& x, Elementwise kind, double a, double b);
void elementwise_backward(const Tensor& dx, const Tensor& dy, const Tensor& x, Elementwise kind, double a,
                          double b);
}  // namespace cuda

}  // namespace tandem
