// The product of two matrices, or of two batches of them.
#pragma once
#include "tandem/core/tensor.h"
#include "tandem/ops/matmul.h"

namespace tandem::reference {

//     C[g, i, j] = sum over l of A[g, i, l] B[g, l, j]
//
// A is a or, with transpose_a, a with its last two axes exchanged, B likewise. g runs over the batch of tensors
// of rank 3.
inline Tensor matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options) {
  const int64_t batch = a.rank() == 3 ? a.size(0) : 1;
  const int64_t m = a.size(options.transpose_a ? -1 : -2), k = a.size(options.transpose_a ? -2 : -1);
  const int64_t n = b.size(options.transpose_b ? -2 : -1);
  const Tensor c = zeros(a.rank() == 3 ? Shape{batch, m, n} : Shape{m, n}, DType::f64);
  for (int64_t g = 0; g < batch; ++g)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j)
        for (int64_t l = 0; l < k; ++l) {
          const int64_t at_a = g * m * k + (options.transpose_a ? l * m + i : i * k + l);
          const int64_t at_b = g * k * n + (options.transpose_b ? j * k + l : l * n + j);
          c.data<double>()[g * m * n + i * n + j] += a.data<double>()[at_a] * b.data<double>()[at_b];
        }
  return c;
}

}  // namespace tandem::reference
