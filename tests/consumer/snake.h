// snake: y = x + sin(alpha x)^2 / alpha, an operator that Tandem does not have, with kernels for the CPU and for GPUs.
//
// Ziyin, Hartwig and Ueda, "Neural networks fail to learn periodic functions and how to fix it" (NeurIPS 2020).
#pragma once
#include "tandem/core/tensor.h"

namespace prototype {
using tandem::Tensor;

// Computes y from x (..., D) and alpha (D), one frequency for each channel, which must not be 0. Both are f32
// or both are f64; on a GPU both may be bf16. Error: sizes or dtypes do not agree.
Tensor snake(const Tensor& x, const Tensor& alpha);

// Kernels. dalpha is added to.
namespace cpu {
void snake_forward(const Tensor& y, const Tensor& x, const Tensor& alpha);
void snake_backward(const Tensor& dx, const Tensor& dalpha, const Tensor& dy, const Tensor& x,
                    const Tensor& alpha);
}  // namespace cpu
namespace cuda {
void snake_forward(const Tensor& y, const Tensor& x, const Tensor& alpha);
void snake_backward(const Tensor& dx, const Tensor& dalpha, const Tensor& dy, const Tensor& x,
                    const Tensor& alpha);
}  // namespace cuda

}  // namespace prototype
