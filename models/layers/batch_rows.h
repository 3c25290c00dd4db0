// The rows of a batch in tensors (..., B, D), whose second axis from the end is the batch: taken apart and joined, for
// generation, where texts join a batch and leave it.
#pragma once
#include <cstdint>
#include <span>

#include "tandem/core/tensor.h"

namespace tandem {

// Returns the rows begin to end - 1 of the batch, (..., end - begin, D): x itself or a view where these lie side by side,
// else a copy.
Tensor batch_rows(const Tensor& x, int64_t begin, int64_t end);
// Writes `rows` (..., n, D) over the rows of y (..., B, D) from `begin` on.
void set_batch_rows(const Tensor& y, int64_t begin, const Tensor& rows);

// Returns a copy of these rows, in this order. Undefined if x is.
Tensor kept_rows(const Tensor& x, std::span<const int64_t> rows);
// Returns the rows of a, then those of b, in a's dtype. An undefined tensor stands for zeros of so many rows, as it does at
// the start of a text; the result is undefined if both are. Error: they differ in another axis than the batch.
Tensor joined_rows(const Tensor& a, int64_t rows_of_a, const Tensor& b, int64_t rows_of_b);

}  // namespace tandem
