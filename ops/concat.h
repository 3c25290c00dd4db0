// concat: tensors joined along their leading axis, or along their last.
#pragma once
#include <vector>

#include "core/tensor.h"

namespace tandem {

// (N1, ...), (N2, ...), ... -> (N1 + N2 + ..., ...). Undefined tensors are left out, so that a memory that is
// still empty needs no special case. The gradients are views of the one that arrives. Error: no tensor is
// defined; they differ in dtype, device or in another axis than the leading one.
Tensor concat(const std::vector<Tensor>& xs);

// (..., N1), (..., N2), ... -> (..., N1 + N2 + ...). Error: no tensor; they differ in dtype, device or in
// another axis than the last one; not floating.
Tensor concat_columns(const std::vector<Tensor>& xs);

// A place in the rows of x (..., N): columns begin, begin + 1, ...
struct Columns {
  Tensor x;
  int64_t begin = 0;
};

namespace cpu {
// As many columns of `from` as `columns` says to `to`, row by row.
void copy_columns(const Columns& to, const Columns& from, int64_t columns);
}  // namespace cpu

namespace cuda {
void copy_columns(const Columns& to, const Columns& from, int64_t columns);
}  // namespace cuda

}  // namespace tandem
