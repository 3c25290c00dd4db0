// How recurrences cut their B x D columns into blocks on the CPU. A block is taken through all time steps, so
// that its carry and the gradients of its parameters stay in cache.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "tandem/core/tensor.h"

namespace tandem::cpu {

// Largest number of columns of a block. Its rows of scratch lie on the stack and stay in the first-level cache.
inline constexpr int64_t kMaxColumns = 512;

// A row for each time step. With stride 0 one row serves all steps, such as a skip of zeros.
template <class T>
struct Rows {
  T* first;
  int64_t stride;
  T* at(int64_t t) const { return first + t * stride; }
};

// A block of columns of one batch row.
struct ColumnBlock {
  int64_t b, column, columns;  // the batch row, its first column there, and the number of columns
  int64_t first;               // index of the first column in (B, D)
};

// Cuts B x D columns into blocks, each within one batch row. The cut depends on the sizes, not on the number of
// threads.
struct ColumnBlocks {
  int64_t batch, width;
  int64_t columns = kMaxColumns;

  ColumnBlocks(int64_t batch, int64_t width) : batch(batch), width(width) {
    while (columns > 128 && count() < 16) columns /= 2;
  }
  int64_t per_row() const { return (width + columns - 1) / columns; }
  int64_t count() const { return batch * per_row(); }
  ColumnBlock operator[](int64_t block) const {
    const int64_t b = block / per_row(), begin = block % per_row() * columns;
    return {b, begin, std::min(columns, width - begin), b * width + begin};
  }
};

template <class T>
inline constexpr T kZeros[kMaxColumns] = {};
template <class T>
inline constexpr auto kOnes = [] {
  std::array<T, kMaxColumns> ones{};
  ones.fill(T(1));
  return ones;
}();

// Returns the rows of x (T, B, k D) for batch row b, from `column` on; rows of zeros if x is undefined.
template <class T>
Rows<const T> rows_of(const Tensor& x, int64_t b, int64_t column) {
  if (!x.defined()) return {kZeros<T>, 0};
  return {x.data<T>() + b * x.size(2) + column, x.size(1) * x.size(2)};
}
// Returns the elements of x (B, D) from index `first` on; a row of zeros if x is undefined.
template <class T>
const T* row_of(const Tensor& x, int64_t first) {
  return x.defined() ? x.data<T>() + first : kZeros<T>;
}
// Returns the rows of y (T, B, k D) for batch row b, from `column` on, to be written.
template <class T>
Rows<T> output_rows(const Tensor& y, int64_t b, int64_t column) {
  return {y.data<T>() + b * y.size(2) + column, y.size(1) * y.size(2)};
}

}  // namespace tandem::cpu
