// hardtanh: y = min(max(x, -1), 1), elementwise.
#pragma once
#include "tandem/core/macros.h"
#include "tandem/core/tensor.h"

namespace tandem {

// Any shape. Error: x is not floating.
Tensor hardtanh(const Tensor& x);

template <class T>
TANDEM_HD TANDEM_INLINE T hardtanh_value(T x) {
  return x < T(-1) ? T(-1) : x > T(1) ? T(1) : x;
}
template <class T>
TANDEM_HD TANDEM_INLINE T hardtanh_derivative(T x) {
  return x < T(-1) || x > T(1) ? T(0) : T(1);
}

namespace cpu {
void hardtanh_forward(const Tensor& y, const Tensor& x);
void hardtanh_backward(const Tensor& dx, const Tensor& dy, const Tensor& x);
}  // namespace cpu

namespace cuda {
void hardtanh_forward(const Tensor& y, const Tensor& x);
void hardtanh_backward(const Tensor& dx, const Tensor& dy, const Tensor& x);
}  // namespace cuda

}  // namespace tandem
