// Rows divided by their root mean square: a warp or a block computes one row, and holds it in registers where it
// fits. Memory traffic at least: forward reads x and writes y; backward reads dy and x and writes dx, and, for
// the gain, writes and reads dy x_hat.
#include "tandem/ops/rms_norm.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/rows.cuh"
#include "tandem/ops/reduce.h"
#include "tandem/ops/support/data_or_null.h"

namespace tandem::cuda {
namespace {

// Returns the gains of N columns; 1 if there is no gain.
template <int N, class C>
__device__ __forceinline__ Vec<C, N> gains_at(const C* gain, int64_t column) {
  if (gain) return load_vector<C, N>(gain + column);
  Vec<C, N> ones;
#pragma unroll
  for (int k = 0; k < N; ++k) ones.v[k] = 1;
  return ones;
}

template <class T>
struct Forward {
  using C = Compute<T>;
  int64_t count, columns;
  T* y;
  C* rstd;
  const T* x;
  const C* gain;
  C eps;

  template <class Shape>
  __device__ void run(int64_t row) const {
    constexpr int N = Shape::kWidth;
    const RowChunks<T, Shape> values(x + row * columns, columns);
    C squares = 0;
    for_chunks_within<Shape>(columns, [&](int i, auto column) {
      const Vec<C, N> part = converted<C>(values.at(i, column));
#pragma unroll
      for (int k = 0; k < N; ++k) squares += part.v[k] * part.v[k];
    });
    const C r = C(1) / std::sqrt(block_sum<Shape::kThreads>(squares) / static_cast<C>(columns) + eps);
    for_chunks_within<Shape>(columns, [&](int i, auto column) {
      Vec<C, N> part = converted<C>(values.at(i, column));
      const Vec<C, N> g = gains_at<N>(gain, column);
#pragma unroll
      for (int k = 0; k < N; ++k) part.v[k] *= r * g.v[k];
      store_vector(y + row * columns + column, converted<T>(part));
    });
    if (threadIdx.x == 0) rstd[row] = r;
  }
};

// ops/rms_norm.cpp has the formulas.
template <class T>
struct Backward {
  using C = Compute<T>;
  int64_t count, columns;
  T* dx;        // null if not wanted
  C* weighted;  // dy x_hat, the terms of dgain; null if not wanted
  const T *dy, *x;
  const C *gain, *rstd;

  template <class Shape>
  __device__ void run(int64_t row) const {
    constexpr int N = Shape::kWidth;
    const int64_t first = row * columns;
    const RowChunks<T, Shape> dys(dy + first, columns), xs(x + first, columns);
    const C r = rstd[row];
    C sum = 0;
    for_chunks_within<Shape>(columns, [&](int i, auto column) {
      Vec<C, N> terms = converted<C>(dys.at(i, column));
      const Vec<C, N> part = converted<C>(xs.at(i, column)), g = gains_at<N>(gain, column);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        terms.v[k] *= part.v[k] * r;
        sum += terms.v[k] * g.v[k];
      }
      if (weighted) store_vector(weighted + first + column, terms);
    });
    const C mean = block_sum<Shape::kThreads>(sum) / static_cast<C>(columns);
    if (!dx) return;
    for_chunks_within<Shape>(columns, [&](int i, auto column) {
      Vec<C, N> out = converted<C>(dys.at(i, column));
      const Vec<C, N> part = converted<C>(xs.at(i, column)), g = gains_at<N>(gain, column);
#pragma unroll
      for (int k = 0; k < N; ++k)
        out.v[k] = rms_norm_element_backward(out.v[k] * g.v[k], part.v[k] * r, r, mean);
      store_vector(dx + first + column, converted<T>(out));
    });
  }
};

// Runs either direction, in vectors where the width and the addresses of all tensors allow them.
template <class T, class Direction, class... Tensors>
void run(const Direction& direction, const Tensors&... tensors) {
  constexpr int N = kVector<T>;
  const size_t bytes = sizeof(Vec<Compute<T>, N>);  // of the widest vectors
  if (direction.columns % N == 0 && ((!tensors.defined() || is_aligned(tensors.raw(), bytes)) && ...))
    launch_rows<N>(direction, direction.columns);
  else
    launch_rows<1>(direction, direction.columns);
}

}  // namespace

void rms_norm_forward(const Tensor& y, const Tensor& rstd, const Tensor& x, const Tensor& gain, double eps) {
  dispatch_device_float(x.dtype(), "rms_norm", [&]<class T>() {
    using C = Compute<T>;
    const Forward<T> direction{rstd.numel(),       x.size(-1),  y.data<T>(),
                               rstd.data<C>(),     x.data<T>(), data_or_null<const C>(gain),
                               static_cast<C>(eps)};
    run<T>(direction, y, x, gain);
  });
}

void rms_norm_backward(const RmsNormGrads& out, const Tensor& dy, const Tensor& x, const Tensor& gain,
                       const Tensor& rstd) {
  const GradTarget& dgain = out.dgain;
  const Tensor weighted = dgain.grad.defined() ? Tensor(x.shape(), dgain.grad.dtype(), x.device()) : Tensor();
  dispatch_device_float(x.dtype(), "rms_norm", [&]<class T>() {
    using C = Compute<T>;
    const Backward<T> direction{
        rstd.numel(), x.size(-1),  data_or_null<T>(out.dx),     data_or_null<C>(weighted),
        dy.data<T>(), x.data<T>(), data_or_null<const C>(gain), rstd.data<C>()};
    run<T>(direction, out.dx, weighted, dy, x, gain);
  });
  if (weighted.defined()) sum_axis(dgain.grad, weighted, {1, rstd.numel(), x.size(-1)}, 1, dgain.accumulate);
}

}  // namespace tandem::cuda
