// block_linear: y = x W^T over the last axis with a block-diagonal W, (..., G in) to (..., G out).
//
// De et al., "Griffin" (2024), the gates of the RG-LRU: G blocks cost a G-th of a full matrix.
#pragma once
#include "tandem/core/tensor.h"
#include "tandem/ops/gemm/gemm.h"

namespace tandem {

// Returns y with y[..., g out + i] = sum over j of weight[g, i, j] x[..., g in + j]: block g of x meets block g of
// weight (G, out, in) alone. f32 is multiplied in matmul_precision(). If x is bf16, on a GPU, weight may be f32,
// and then its gradient is f32 too. Error: weight is not (G, out, in), the last size of x is not G in, dtypes or
// devices differ.
Tensor block_linear(const Tensor& x, const Tensor& weight);

// Describe the G products y = x W^T, dx = dy W and dW = dy^T x (or dW += with accumulate) for `rows` rows.
Gemm block_linear_product(int64_t rows, const Tensor& weight, MatmulPrecision precision);
Gemm block_linear_input_product(int64_t rows, const Tensor& weight, MatmulPrecision precision);
Gemm block_linear_weight_product(int64_t rows, const Tensor& weight, bool accumulate,
                                 MatmulPrecision precision);

namespace cpu {
void block_linear_forward(const Tensor& y, const Tensor& x, const Tensor& weight, MatmulPrecision precision);
void block_linear_backward_input(const Tensor& dx, const Tensor& dy, const Tensor& weight,
                                 MatmulPrecision precision);
void block_linear_backward_weight(const Tensor& dweight, const Tensor& dy, const Tensor& x, bool accumulate,
                                  MatmulPrecision precision);
}  // namespace cpu

namespace cuda {
void block_linear_forward(const Tensor& y, const Tensor& x, const Tensor& weight, MatmulPrecision precision);
void block_linear_backward_input(const Tensor& dx, const Tensor& dy, const Tensor& weight,
                                 MatmulPrecision precision);
void block_linear_backward_weight(const Tensor& dweight, const Tensor& dy, const Tensor& x, bool accumulate,
                                  MatmulPrecision precision);
}  // namespace cuda

}  // namespace tandem
