// matmul: C = op(A) op(B), the product of two matrices or of two batches of matrices.
#pragma once
#include "tandem/core/tensor.h"
#include "tandem/ops/gemm/gemm.h"

namespace tandem {

// A transpose is an argument, so that no transposed copy is made.
struct MatmulOptions {
  bool transpose_a = false, transpose_b = false;
};

// Returns op(a) op(b): (m, k) and (k, n) -> (m, n). With transpose_a, a is stored as (k, m); with
// transpose_b, b is stored as (n, k). If both have a leading axis of size G, there are G products: (G, m, k)
// and (G, k, n) -> (G, m, n). f32 is multiplied in matmul_precision(). Error: ranks other than 2 or 3, batch
// sizes or inner sizes that differ, dtypes or devices that differ.
Tensor matmul(const Tensor& a, const Tensor& b, MatmulOptions options = {});

// The arguments of the kernels besides the tensors.
struct MatmulKernel {
  bool transpose_a = false, transpose_b = false;
  bool accumulate = false;  // add to c instead of overwriting it
  MatmulPrecision precision = MatmulPrecision::f32;
};

// Describes the product c = op(a) op(b).
Gemm product_of(const Tensor& c, const Tensor& a, const Tensor& b, MatmulKernel kernel);

namespace cpu {
void matmul(const Tensor& c, const Tensor& a, const Tensor& b, MatmulKernel kernel);
}  // namespace cpu

namespace cuda {
void matmul(const Tensor& c, const Tensor& a, const Tensor& b, MatmulKernel kernel);
}  // namespace cuda

}  // namespace tandem
