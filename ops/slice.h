// slice: slice and split, rows of the leading axis as views.
#pragma once
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem {

// Returns the rows begin .. end - 1 of x (N, ...) as a view (end - begin, ...).
// The gradient of a slice is as large as x and zero outside the slice, so backward through K slices of one
// result costs K times its size; split() costs its size once. Error: 0 <= begin <= end <= N does not hold.
Tensor slice(const Tensor& x, int64_t begin, int64_t end);

// Cuts x (N, ...) along its leading axis into views of rows[0], rows[1], ... rows.
// Error: a number is negative; they do not add up to N.
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& rows);

}  // namespace tandem
