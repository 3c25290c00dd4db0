// linear: y = x W^T + b, the layer that most of a model's work is spent in.
#pragma once
#include "core/tensor.h"
#include "ops/gemm/gemm.h"

namespace tandem {

// x (..., in), weight (out, in), bias (out) or undefined for none -> (..., out). f32 goes by
// matmul_precision(), but for a weight with an 8-bit form (set_int8() in ops/support/weight_cache.h), which is multiplied
// in int8, forward only; where x is bf16, on a GPU, weight and bias may be f32, and so are their gradients
// then. Error: weight is not a matrix, x's last size is not `in`, bias is not (out), dtypes or devices
// differ.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

// linear() for a result that is large and goes to an operator that takes bf16 beside f32 on a CPU (sru_scan,
// the keys and values of causal_attention): where products are in bf16 on the CPU, y is kept in bf16, which
// is half the memory, and so must its gradient be.
Tensor linear_bf16_out(const Tensor& x, const Tensor& weight);

// concat({linear(before, weight), y}) and y = linear(x, weight), computed in place: y is a view of the rows
// of `all` behind those of `before`. The same bits, without the copy. With `before` undefined both are
// linear(x, weight). `before` without gradient may have another floating dtype than x; where products round
// it to bf16 anyway, one in bf16 is multiplied as it lies, for the bits that its values would give in f32.
// Error: as linear(); before and x differ in another size than the leading one.
struct LinearRows {
  Tensor all, y;
};
LinearRows linear_rows(const Tensor& before, const Tensor& x, const Tensor& weight);

// The products y = x W^T, dx = dy W and dW = dy^T x (accumulated or not) for `rows` rows.
Gemm linear_product(int64_t rows, const Tensor& weight, MatmulPrecision precision);
Gemm linear_input_product(int64_t rows, const Tensor& weight, MatmulPrecision precision);
Gemm linear_weight_product(int64_t rows, const Tensor& weight, bool accumulate, MatmulPrecision precision);

namespace cpu {
// Without a bias one of y (its gradient dy) and x may be bf16 beside f32.
void linear_forward(const Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    MatmulPrecision precision);
// dx = dy W.
void linear_backward_input(const Tensor& dx, const Tensor& dy, const Tensor& weight,
                           MatmulPrecision precision);
// dW = dy^T x, or dW +=.
void linear_backward_weight(const Tensor& dweight, const Tensor& dy, const Tensor& x, bool accumulate,
                            MatmulPrecision precision);
// db = sums of dy's columns, or db +=.
void linear_backward_bias(const Tensor& dbias, const Tensor& dy, bool accumulate);
}  // namespace cpu

namespace cuda {
void linear_forward(const Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    MatmulPrecision precision);
void linear_backward_input(const Tensor& dx, const Tensor& dy, const Tensor& weight,
                           MatmulPrecision precision);
void linear_backward_weight(const Tensor& dweight, const Tensor& dy, const Tensor& x, bool accumulate,
                            MatmulPrecision precision);
void linear_backward_bias(const Tensor& dbias, const Tensor& dy, bool accumulate);
}  // namespace cuda

}  // namespace tandem
