// What recurrences share on the CPU: B x D columns cut into blocks. A block is taken through all time steps,
// so that its carry, and the sums for its parameters, stay in cache.
#pragma once
#include <array>
#include <cstdint>

#include "core/tensor.h"

namespace tandem::cpu {

// Columns that one call of a block function takes: its rows of scratch lie on the stack and stay in the first
// cache.
inline constexpr int64_t kMaxColumns = 512;

// A row for each time step; stride 0: one row that serves all of them, such as a skip of zeros.
template <class T>
struct Rows {
  T* first;
  int64_t stride;
  T* at(int64_t t) const { return first + t * stride; }
};

// How B x D columns are cut into blocks. The sizes decide, not the number of threads.
struct ColumnBlocks {
  int64_t batch, width;
  int64_t columns = kMaxColumns;

  ColumnBlocks(int64_t batch, int64_t width) : batch(batch), width(width) {
    while (columns > 128 && count() < 16) columns /= 2;
  }
  int64_t per_row() const { return (width + columns - 1) / columns; }
  int64_t count() const { return batch * per_row(); }
  int64_t row(int64_t block) const { return block / per_row(); }
  int64_t column(int64_t block) const { return block % per_row() * columns; }
};

template <class T>
inline constexpr T kZeros[kMaxColumns] = {};
template <class T>
inline constexpr auto kOnes = [] {
  std::array<T, kMaxColumns> ones{};
  ones.fill(T(1));
  return ones;
}();

// The part of x (T, B, D) or (T, B, k D) that a block sees, from its first column on; zeros where x is
// undefined.
template <class T>
Rows<const T> rows_of(const Tensor& x, int64_t b, int64_t column) {
  if (!x.defined()) return {kZeros<T>, 0};
  return {x.data<T>() + b * x.size(2) + column, x.size(1) * x.size(2)};
}
template <class T>
Rows<T> output_rows(const Tensor& y, int64_t b, int64_t column) {
  return {y.data<T>() + b * y.size(2) + column, y.size(1) * y.size(2)};
}

}  // namespace tandem::cpu
