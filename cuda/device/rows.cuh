// Kernels over rows that keep a row in the registers of a warp or a block, so that each element is read once.
#pragma once
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {

// How a row is shared out: kThreads threads take turns at chunks of kWidth elements, loaded at once. A thread
// holds its kItems chunks in registers; if kItems is 0, it has as many as the row needs and reads them again
// each time.
template <int kThreads_, int kWidth_, int kItems_>
struct RowShape {
  static constexpr int kThreads = kThreads_, kWidth = kWidth_, kItems = kItems_;
  static constexpr bool kHeld = kItems > 0;
  static constexpr int kStored = kHeld ? kItems : 1;
  static constexpr int kRows = kThreads < 128 ? 128 / kThreads : 1;  // of a block
  static constexpr int kBlock = kThreads * kRows;
  using Index = std::conditional_t<kHeld, int, int64_t>;  // of a column
};

// Calls f(i, column) for each chunk of this thread, with its number and its first column, which may lie
// beyond the row.
template <class Shape, class F>
__device__ __forceinline__ void for_chunks(int64_t columns, const F& f) {
  if constexpr (Shape::kHeld) {
#pragma unroll
    for (int i = 0; i < Shape::kItems; ++i)
      f(i, (i * Shape::kThreads + static_cast<int>(threadIdx.x)) * Shape::kWidth);
  } else {
    constexpr int64_t kStep = int64_t{Shape::kThreads} * Shape::kWidth;
    for (int64_t column = int64_t{threadIdx.x} * Shape::kWidth; column < columns; column += kStep)
      f(0, column);
  }
}

// The same, leaving out chunks that lie beyond the row.
template <class Shape, class F>
__device__ __forceinline__ void for_chunks_within(int64_t columns, const F& f) {
  for_chunks<Shape>(columns, [&](int i, auto column) {
    if (column < columns) f(i, column);
  });
}

// A thread's chunks of a row. Where the shape holds them they are loaded by the constructor, so that all
// loads are in flight together; else each is loaded when it is asked for. Nothing is loaded from null.
template <class T, class Shape>
class RowChunks {
 public:
  using Chunk = Vec<T, Shape::kWidth>;

  __device__ __forceinline__ RowChunks(const T* row, int64_t columns) : row_(row) {
    if constexpr (Shape::kHeld)
      if (row)
        for_chunks_within<Shape>(
            columns, [&](int i, auto column) { held_[i] = load_vector<T, Shape::kWidth>(row + column); });
  }
  // Takes the arguments that for_chunks passes.
  __device__ __forceinline__ Chunk at(int i, int64_t column) const {
    if constexpr (Shape::kHeld)
      return held_[i];
    else
      return load_vector<T, Shape::kWidth>(row_ + column);
  }
  __device__ explicit operator bool() const { return row_ != nullptr; }

 private:
  const T* row_;
  Chunk held_[Shape::kStored];
};

template <class To, class From, int N>
__device__ __forceinline__ Vec<To, N> converted(const Vec<From, N>& from) {
  Vec<To, N> to;
#pragma unroll
  for (int k = 0; k < N; ++k) to.v[k] = static_cast<To>(from.v[k]);
  return to;
}

template <class Shape, class Rows>
__global__ void __launch_bounds__(Shape::kBlock, 512 / Shape::kBlock) rows_kernel(Rows rows) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * Shape::kRows + threadIdx.y;
  if (row < rows.count) rows.template run<Shape>(row);
}

// Calls f(RowShape) with the shape for rows of up to `columns` elements; a thread holds at most kMost chunks.
//
// Each shape is compiled once for every kernel and dtype, and f32 and bf16 in vectors have all five. The
// others (f64, and widths that vectors do not divide) do without the first, which saves registers, and the
// fourth, which saves reading a row again: the next larger one sums in the same order, so that the results
// have the same bits.
template <int kWidth, int kMost = kWidth <= 4 ? 8 : 4, class F>
void with_row_shape(int64_t columns, const F& f) {
  constexpr bool kAll = kWidth >= 4;
  if constexpr (kAll)
    if (columns <= 64 * kWidth) return f(RowShape<32, kWidth, 2>());
  if (columns <= 32 * kMost * kWidth) return f(RowShape<32, kWidth, kMost>());
  if (columns <= 512 * kWidth) return f(RowShape<128, kWidth, 4>());
  if constexpr (kAll)
    if (columns <= 256 * kMost * kWidth) return f(RowShape<256, kWidth, kMost>());
  f(RowShape<256, kWidth, 0>());
}

// Calls rows.run<Shape>(row) for rows 0..rows.count-1, each on Shape::kThreads threads, numbered by
// threadIdx.x. `columns` is the length of the longest row; a thread holds at most kMost chunks.
template <int kWidth, int kMost = kWidth <= 4 ? 8 : 4, class Rows>
void launch_rows(const Rows& rows, int64_t columns) {
  with_row_shape<kWidth, kMost>(columns, [&rows]<class Shape>(Shape) {
    launch(rows_kernel<Shape, Rows>, blocks_for(rows.count, Shape::kRows),
           dim3(Shape::kThreads, Shape::kRows), 0, compute_stream(), rows);
  });
}

}  // namespace tandem::cuda
