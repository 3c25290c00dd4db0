// arithmetic: add, sub, mul and div of two tensors, scale and neg of one, and the operators + - * /.
#pragma once
#include "tandem/core/macros.h"
#include "tandem/core/tensor.h"

namespace tandem {

// Combine two floating tensors of one shape, dtype and device, element by element. b may have the last axes of
// a only, such as (..., D) and (D) for a bias or a gain, and is repeated over the others; on a GPU it may also
// be f32 where a is bf16, as parameters are. Division by zero gives infinity or NaN, as in IEEE 754.
// Error: shapes, dtypes or devices differ.
Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);

// Multiplies every element by `factor`, or by -1. Error: x is not floating.
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

// Combines two elements, for the CPU loop and the CUDA kernel.
template <Arithmetic kind, class T>
TANDEM_HD TANDEM_INLINE T arithmetic_value(T a, T b) {
  if constexpr (kind == Arithmetic::add) return a + b;
  if constexpr (kind == Arithmetic::sub) return a - b;
  if constexpr (kind == Arithmetic::mul) return a * b;
  if constexpr (kind == Arithmetic::div) return a / b;
}

namespace cpu {
// y = a (kind) b, with the elements of b repeated as often as they fit into a.
void arithmetic(const Tensor& y, const Tensor& a, const Tensor& b, Arithmetic kind);
void scale(const Tensor& y, const Tensor& x, double factor);
}  // namespace cpu

namespace cuda {
void arithmetic(const Tensor& y, const Tensor& a, const Tensor& b, Arithmetic kind);
void scale(const Tensor& y, const Tensor& x, double factor);
}  // namespace cuda

}  // namespace tandem
