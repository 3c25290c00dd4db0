// add, sub, mul, div, scale, neg: elementwise arithmetic, and the operators + - * / on tensors.
#pragma once
#include "core/macros.h"
#include "core/tensor.h"

namespace tandem {

// Elementwise, two floating tensors of one shape, dtype and device. For add and mul b may be smaller: its
// shape then is the end of a's, (..., D) and (D), as for a bias or a gain. On a GPU it may be f32 beside a in
// bf16, as parameters are. Error: shapes, dtypes or devices differ.
Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);  // no check for zeros: infinity or NaN, as in IEEE 754

Tensor scale(const Tensor& x, double factor);
Tensor neg(const Tensor& x);

inline Tensor operator+(const Tensor& a, const Tensor& b) {
  return add(a, b);
}
inline Tensor operator-(const Tensor& a, const Tensor& b) {
  return sub(a, b);
}
inline Tensor operator*(const Tensor& a, const Tensor& b) {
  return mul(a, b);
}
inline Tensor operator/(const Tensor& a, const Tensor& b) {
  return div(a, b);
}
inline Tensor operator*(const Tensor& x, double factor) {
  return scale(x, factor);
}
inline Tensor operator*(double factor, const Tensor& x) {
  return scale(x, factor);
}
inline Tensor operator-(const Tensor& x) {
  return neg(x);
}

enum class Arithmetic { add, sub, mul, div };

template <Arithmetic kind, class T>
TANDEM_HD TANDEM_INLINE T arithmetic_value(T a, T b) {
  if constexpr (kind == Arithmetic::add) return a + b;
  if constexpr (kind == Arithmetic::sub) return a - b;
  if constexpr (kind == Arithmetic::mul) return a * b;
  if constexpr (kind == Arithmetic::div) return a / b;
}

namespace cpu {
// b's elements are repeated as often as they fit into a.
void arithmetic(const Tensor& y, const Tensor& a, const Tensor& b, Arithmetic kind);
void scale(const Tensor& y, const Tensor& x, double factor);
}  // namespace cpu

namespace cuda {
void arithmetic(const Tensor& y, const Tensor& a, const Tensor& b, Arithmetic kind);
void scale(const Tensor& y, const Tensor& x, double factor);
}  // namespace cuda

}  // namespace tandem
