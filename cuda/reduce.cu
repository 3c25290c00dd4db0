// Sums over an axis, formed in f64, and their backward pass. Memory traffic at least: each element is read
// once. A long axis is cut into pieces of fixed length, whose sums in f64 are summed again, in order.
#include "tandem/ops/reduce.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kRowPiece = 1 << 14;    // elements of a contiguous sum that one block adds up
constexpr int64_t kColumnPiece = 1 << 7;  // rows that one block adds up where the axis is not the last

// Where sums go: y[i] = factor * sum, or += that. y's dtype need not be that of what is summed.
struct Result {
  void* y;
  DType dtype;
  double factor;
  bool accumulate;

  template <class T>
  __device__ __forceinline__ void put_as(int64_t i, double sum) const {
    T* at = static_cast<T*>(y) + i;
    const double before = accumulate ? static_cast<double>(static_cast<Compute<T>>(*at)) : 0.0;
    *at = static_cast<T>(static_cast<Compute<T>>(factor * sum + before));
  }
  __device__ __forceinline__ void put(int64_t i, double sum) const {
    if (dtype == DType::f32)
      put_as<float>(i, sum);
    else if (dtype == DType::bf16)
      put_as<bf16>(i, sum);
    else
      put_as<double>(i, sum);
  }
};

template <class T, int N>
__device__ __forceinline__ double sum_of(const Vec<T, N>& x) {
  double total = 0;
#pragma unroll
  for (int k = 0; k < N; ++k) total += static_cast<double>(static_cast<Compute<T>>(x.v[k]));
  return total;
}

// One sum for each piece of each contiguous row: (rows, pieces). kGroup threads a piece.
template <int kGroup, int N, class T>
__global__ void __launch_bounds__(kThreads)
    sum_rows_kernel(const Result result, const T* x, int64_t rows, int64_t count, int64_t pieces) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * (kThreads / kGroup) + threadIdx.x / kGroup;
  const bool active = at < rows * pieces;  // all threads must come to the reduction
  const int64_t row = active ? at / pieces : 0, begin = active ? at % pieces * kRowPiece : 0;
  const int64_t end = !active ? 0 : begin + kRowPiece < count ? begin + kRowPiece : count;
  const int member = static_cast<int>(threadIdx.x) % kGroup;
  double total = 0;
#pragma unroll 4
  for (int64_t i = begin + member * N; i < end; i += kGroup * N)
    total += sum_of(load_vector<T, N>(x + row * count + i));
  if constexpr (kGroup == kWarp)
    total = warp_reduce(total, Sum());
  else
    total = block_sum<kThreads>(total);
  if (active && member == 0) result.put(at, total);
}

// Columns: x is (outer, count, inner) and its columns are outer * inner, N of them a lane, 32 N a block. The
// warps of a block share the rows of one piece, and their sums are added in order. Sums: (outer, pieces,
// inner).
template <int N, class T>
__global__ void __launch_bounds__(kThreads)
    sum_columns_kernel(const Result result, const T* x, const AxisSplit split, int64_t pieces,
                       int64_t blocks) {
  constexpr int kWarps = kThreads / kWarp, kWidth = kWarp * N;
  __shared__ double parts[kWarps][kWidth];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t piece = blockIdx.x / blocks, first = blockIdx.x % blocks * kWidth;
  const int64_t columns = split.outer * split.inner;
  const int64_t begin = piece * kColumnPiece;
  const int64_t end = begin + kColumnPiece < split.count ? begin + kColumnPiece : split.count;

  double total[N] = {};
  const int64_t column = first + lane * N;
  if (column < columns) {
    const T* from = x + column / split.inner * split.count * split.inner + column % split.inner;
#pragma unroll 8
    for (int64_t r = begin + warp; r < end; r += kWarps) {
      const Vec<T, N> row = load_vector<T, N>(from + r * split.inner);
#pragma unroll
      for (int k = 0; k < N; ++k) total[k] += static_cast<double>(static_cast<Compute<T>>(row.v[k]));
    }
  }
#pragma unroll
  for (int k = 0; k < N; ++k) parts[warp][lane * N + k] = total[k];
  __syncthreads();
  const int64_t mine = first + threadIdx.x;
  if (threadIdx.x >= kWidth || mine >= columns) return;
  double sum = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) sum += parts[w][threadIdx.x];
  result.put((mine / split.inner * pieces + piece) * split.inner + mine % split.inner, sum);
}

template <class T>
void sum_axis_of(const Tensor& y, const T* x, AxisSplit s, double factor, bool accumulate) {
  const bool rows = s.inner == 1 && s.count >= kWarp;
  const int64_t length = rows ? kRowPiece : kColumnPiece;
  const int64_t pieces = std::max<int64_t>(1, (s.count + length - 1) / length);
  const Tensor partial = pieces > 1 ? Tensor({s.outer, pieces, s.inner}, DType::f64, y.device()) : Tensor();
  const Result result = pieces > 1 ? Result{partial.raw(), DType::f64, 1.0, false}
                                   : Result{y.raw(), y.dtype(), factor, accumulate};
  constexpr int N = kVector<T>;
  if (rows) {
    const bool vectors = s.count % N == 0 && is_aligned(x);
    const bool wide = s.count >= 4 * N * kWarp;  // worth a whole block
    const auto kernel = wide ? (vectors ? sum_rows_kernel<kThreads, N, T> : sum_rows_kernel<kThreads, 1, T>)
                        : vectors ? sum_rows_kernel<kWarp, N, T>
                                  : sum_rows_kernel<kWarp, 1, T>;
    launch(kernel, blocks_for(s.outer * pieces, wide ? 1 : kThreads / kWarp), kThreads, 0, compute_stream(),
           result, x, s.outer, s.count, pieces);
  } else {
    const bool vectors = s.inner % N == 0 && is_aligned(x);
    const int64_t width = vectors ? kWarp * N : kWarp;
    const int64_t blocks = (s.outer * s.inner + width - 1) / width;
    launch(vectors ? sum_columns_kernel<N, T> : sum_columns_kernel<1, T>,
           static_cast<unsigned>(blocks * pieces), kThreads, 0, compute_stream(), result, x, s, pieces,
           blocks);
  }
  if (pieces > 1) sum_axis_of(y, partial.data<double>(), {s.outer, pieces, s.inner}, factor, accumulate);
}

// N elements of y (outer, count, inner) a thread: all of one x row if N divides `inner`, all one element of x
// if `inner` is 1 and N divides `count`.
template <int N, class T>
__global__ void __launch_bounds__(kThreads)
    repeat_kernel(T* y, const T* x, int64_t n, const AxisSplit split, Compute<T> factor) {
  using C = Compute<T>;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
  if (first >= n) return;
  const T* from = x + first / (split.count * split.inner) * split.inner + first % split.inner;
  Vec<T, N> in, out;
  if (split.inner == 1) {
#pragma unroll
    for (int k = 0; k < N; ++k) in.v[k] = *from;
  } else {
    in = load_vector<T, N>(from);
  }
#pragma unroll
  for (int k = 0; k < N; ++k) out.v[k] = static_cast<T>(factor * static_cast<C>(in.v[k]));
  store_vector(y + first, out);
}

template <class T>
void repeat_axis_of(T* y, const T* x, AxisSplit s, double factor) {
  constexpr int N = kVector<T>;
  const bool vectors = is_aligned(y) && (s.inner == 1 ? s.count % N == 0 : s.inner % N == 0 && is_aligned(x));
  const int64_t n = s.outer * s.count * s.inner;
  launch(vectors ? repeat_kernel<N, T> : repeat_kernel<1, T>,
         blocks_for(n, int64_t{kThreads} * (vectors ? N : 1)), kThreads, 0, compute_stream(), y, x, n, s,
         static_cast<Compute<T>>(factor));
}

}  // namespace

void sum_axis(const Tensor& y, const Tensor& x, AxisSplit split, double factor, bool accumulate) {
  dispatch_device_float(x.dtype(), "sum",
                        [&]<class T>() { sum_axis_of(y, x.data<T>(), split, factor, accumulate); });
}

void repeat_axis(const Tensor& y, const Tensor& x, AxisSplit split, double factor) {
  dispatch_device_float(x.dtype(), "sum",
                        [&]<class T>() { repeat_axis_of(y.data<T>(), x.data<T>(), split, factor); });
}

}  // namespace tandem::cuda
