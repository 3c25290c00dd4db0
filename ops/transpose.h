// transpose: two axes exchanged, as a copy.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

// Returns a copy of x in which two axes have changed places, the last two if none are named: (A, B, C) becomes (A, C, B),
// and with axes 0 and 1, (B, A, C). Any dtype. A product needs no copy: matmul() takes a transpose as an option.
// Error: x is undefined or has no such axis.
Tensor transpose(const Tensor& x, int axis_a = -2, int axis_b = -1);

// Views a tensor as (outer, first, middle, second, inner); first and second are exchanged.
struct TransposeSplit {
  int64_t outer, first, middle, second, inner;
};

namespace cpu {
// y (outer, second, middle, first, inner) = x (outer, first, middle, second, inner) transposed.
void transpose(const Tensor& y, const Tensor& x, TransposeSplit split);
}  // namespace cpu

namespace cuda {
void transpose(const Tensor& y, const Tensor& x, TransposeSplit split);
}  // namespace cuda

}  // namespace tandem
