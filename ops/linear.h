// linear: y = x W^T + b over the last axis, where most of a model's work is done.
#pragma once
#include <memory>

#include "tandem/core/tensor.h"
#include "tandem/ops/gemm/gemm.h"

namespace tandem {

struct Bf16Weight;
struct Int8Weight;

// Returns y = x W^T + b: x (..., in), weight (out, in), bias (out) or undefined for none -> y (..., out). f32
// is multiplied in matmul_precision(); a weight with an 8-bit form (set_int8() in ops/support/weight_cache.h)
// in int8, in forward only. If x is bf16, on a GPU, weight and bias may be f32, and then their gradients are
// f32 too. Error: weight is not a matrix, the last size of x is not `in`, bias is not (out), dtypes or
// devices differ.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

// Like linear(), but if products run in bf16 on the CPU, y is stored in bf16 too, which halves its memory;
// its gradient must then be bf16. Only for consumers that accept bf16 with f32: sru_scan, and
// causal_attention for keys and values.
Tensor linear_bf16_out(const Tensor& x, const Tensor& weight);

// Returns all = linear(concat({before, x}), weight), without the copy that concat makes, and y, a view of the
// rows of `all` that belong to x. If `before` is undefined, both are linear(x, weight). `before` may have
// another floating dtype than x if it needs no gradient: it is converted to that of x, except that products
// in bf16 read a bf16 `before` as it is, with the same result. Error: those of linear(); before and x differ
// in a size other than the leading one.
struct LinearRows {
  Tensor all, y;
};
LinearRows linear_rows(const Tensor& before, const Tensor& x, const Tensor& weight);

// Describe the products y = x W^T, dx = dy W and dW = dy^T x (or dW += with accumulate) for `rows` rows.
Gemm linear_product(int64_t rows, const Tensor& weight, MatmulPrecision precision);
Gemm linear_input_product(int64_t rows, const Tensor& weight, MatmulPrecision precision);
Gemm linear_weight_product(int64_t rows, const Tensor& weight, bool accumulate, MatmulPrecision precision);

namespace cpu {

// The ways to compute y = x W^T + b on a CPU. plan_linear() chooses the first row that applies:
//
//     path          x          y      applies if                              computed by
//     bf16_input    bf16       f32    x is stored in bf16                     gemm(), which reads x as it is
//     int8          f32        f32    W has a current 8-bit form (set_int8)   gemm_int8()
//     kept_bf16     f32        any    W keeps a packed form (bf16_form)       gemm_bf16_weight()
//     bf16_output   f32        bf16   y is to be stored in bf16               gemm(), which rounds y
//     general       f32, f64   as x   always                                  gemm(), in the precision given
//
// The paths with bf16 in their names need precision bf16, and those with x or y in bf16 take no bias. A leaf
// W keeps a packed form for products of at most kMostKeptRows rows under a GenerationScope.
enum class LinearPath { bf16_input, int8, kept_bf16, bf16_output, general };

// A path, and the form of the weight that it multiplies by.
struct LinearPlan {
  LinearPath path;
  const Int8Weight* int8 = nullptr;             // for LinearPath::int8
  std::shared_ptr<const Bf16Weight> kept = {};  // for LinearPath::kept_bf16
};
LinearPlan plan_linear(const Tensor& y, const Tensor& x, const Tensor& weight, MatmulPrecision precision);

// y = x W^T + b as planned; bias may be undefined.
void linear_forward(const Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    MatmulPrecision precision);
// dx = dy W. In precision bf16 dy may be stored in bf16.
void linear_backward_input(const Tensor& dx, const Tensor& dy, const Tensor& weight,
                           MatmulPrecision precision);
// dW = dy^T x, or dW += with accumulate. In precision bf16 one of dy and x may be stored in bf16.
void linear_backward_weight(const Tensor& dweight, const Tensor& dy, const Tensor& x, bool accumulate,
                            MatmulPrecision precision);
// db = the sum of the rows of dy, or db += with accumulate.
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
