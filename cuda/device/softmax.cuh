// The softmax of one row, for softmax.cu and attention.cu.
#pragma once
#include <cmath>

#include "tandem/cuda/device/rows.cuh"

namespace tandem::cuda {

// The columns begin .. end - 1 of a row are visible; the others are masked.
template <class Index>
struct VisibleColumns {
  Index begin, end;
  template <class Other>
  __device__ explicit VisibleColumns(const VisibleColumns<Other>& other)
      : begin(static_cast<Index>(other.begin)), end(static_cast<Index>(other.end)) {}
  __device__ VisibleColumns(Index first, Index last) : begin(first), end(last) {}
  __device__ bool has(Index column) const { return column >= begin && column < end; }
  __device__ bool has_some(Index column, int count) const { return column + count > begin && column < end; }
};

// Computes y = softmax(scale x) over the visible columns, times the factors that factors(column, C
// (&f)[kWidth]) fills in; the masked ones of 0..columns-1 become exactly 0. x(column) loads a Vec<In, kWidth>
// that begins there; it is not called for chunks that are wholly masked. Returns the logarithm of the sum of
// the exponentials.
template <class Shape, class In, class T, class Load, class Factors>
__device__ __forceinline__ Compute<In> softmax_row(T* y, const Load& x, VisibleColumns<int64_t> all,
                                                   int64_t columns, Compute<In> scale,
                                                   const Factors& factors) {
  using C = Compute<In>;
  using Index = typename Shape::Index;
  constexpr int N = Shape::kWidth;
  constexpr C kLowest = -HUGE_VALF;
  const VisibleColumns<Index> visible(all);
  C s[Shape::kStored][N];
  const auto load = [&](C(&to)[N], Index column) {
    Vec<In, N> chunk{};
    if (visible.has_some(column, N)) chunk = x(column);
#pragma unroll
    for (int k = 0; k < N; ++k)
      to[k] = visible.has(column + k) ? scale * static_cast<C>(chunk.v[k]) : kLowest;
  };

  C largest = kLowest;
  for_chunks<Shape>(columns, [&](int i, Index column) {
    load(s[i], column);
#pragma unroll
    for (int k = 0; k < N; ++k) largest = std::fmax(s[i][k], largest);  // NaN shows in the sum
  });
  largest = block_max<Shape::kThreads>(largest);

  C total = 0;
  for_chunks<Shape>(columns, [&](int i, Index column) {
    if constexpr (!Shape::kHeld) load(s[i], column);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      s[i][k] = fast_exp(s[i][k] - largest);
      total += s[i][k];
    }
  });
  total = block_sum<Shape::kThreads>(total);
  if (total != total) {  // masked elements are 0 even in a row of NaN
    for (Index column = threadIdx.x; column < columns; column += Shape::kThreads)
      y[column] = static_cast<T>(visible.has(column) ? total : C(0));
    return total;
  }

  const C factor = C(1) / total;
  for_chunks<Shape>(columns, [&](int i, Index column) {
    if (column >= columns) return;
    if constexpr (!Shape::kHeld) {
      load(s[i], column);
#pragma unroll
      for (int k = 0; k < N; ++k) s[i][k] = fast_exp(s[i][k] - largest);
    }
    C f[N];
    factors(column, f);
    Vec<T, N> out;
#pragma unroll
    for (int k = 0; k < N; ++k) out.v[k] = static_cast<T>(s[i][k] * factor * f[k]);
    store_vector(y + column, out);
  });
  return largest + std::log(total);
}

}  // namespace tandem::cuda
