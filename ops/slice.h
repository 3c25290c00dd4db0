// slice: slice, rows of the leading axis as a view, and split, along any axis.
#pragma once
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem {

// Returns the rows begin .. end - 1 of x (N, ...) as a view (end - begin, ...).
// The gradient of a slice is as large as x and zero outside the slice, so backward through K slices of one
// result costs K times its size; split() costs its size once. Error: 0 <= begin <= end <= N does not hold.
Tensor slice(const Tensor& x, int64_t begin, int64_t end);

// Cuts x along an axis, of which -1 is the last, into pieces of sizes[0], sizes[1], ...: (T, B, 5) along the last
// by {2, 3} gives (T, B, 2) and (T, B, 3). Along the leading axis the pieces are views, of any dtype; along another
// they are copies.
// Error: no such axis; a size is negative; they do not add up to the axis; not floating, along another axis.
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int axis = 0);

}  // namespace tandem
