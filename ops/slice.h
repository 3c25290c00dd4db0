// slice and split: rows of the leading axis, as views.
#pragma once
#include <vector>

#include "core/tensor.h"

namespace tandem {

// Rows begin..end-1 of x (N, ...): (end - begin, ...). A view: it shares x's memory.
// The gradient of a slice is as large as x, and zero outside it. So many slices of one result cost their
// number times its size in backward; take them with split, which costs its size once. Error: 0 <= begin <=
// end <= N does not hold.
Tensor slice(const Tensor& x, int64_t begin, int64_t end);

// x (N, ...) cut along its leading axis into views of these many rows, which must add up to N.
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& rows);

}  // namespace tandem
