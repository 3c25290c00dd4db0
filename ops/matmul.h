// matmul: the product of two matrices, or of two batches of them. A transpose is an argument, not a tensor.
#pragma once
#include "core/tensor.h"
#include "ops/gemm/gemm.h"

namespace tandem {

struct MatmulOptions {
  bool transpose_a = false, transpose_b = false;
};

// op(a) op(b): (m, k) by (k, n) gives (m, n); with transpose_a, a is stored as (k, m), with transpose_b, b as
// (n, k). With a leading axis of size G on both it is G products. f32 goes by matmul_precision(). Error:
// ranks other than 2 or 3, batch sizes or inner sizes that differ, dtypes or devices that differ.
Tensor matmul(const Tensor& a, const Tensor& b, MatmulOptions options = {});

// What a kernel is told besides its tensors.
struct MatmulKernel {
  bool transpose_a = false, transpose_b = false;
  bool accumulate = false;  // adds to c
  MatmulPrecision precision = MatmulPrecision::f32;
};

// The product that gives c from a and b.
Gemm product_of(const Tensor& c, const Tensor& a, const Tensor& b, MatmulKernel kernel);

namespace cpu {
void matmul(const Tensor& c, const Tensor& a, const Tensor& b, MatmulKernel kernel);
}  // namespace cpu

namespace cuda {
void matmul(const Tensor& c, const Tensor& a, const Tensor& b, MatmulKernel kernel);
}  // namespace cuda

}  // namespace tandem
