// Root mean square normalisation: a warp or a block computes one row, and holds it in registers where it fits. Memory
// traffic at least: forward reads x and writes y, backward reads dy and x and writes dx; the gradient of the gain reads dy
// and x once more, and two numbers of each row stay in cache.
#include "tandem/ops/rms_norm.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/rows.cuh"
#include "tandem/ops/reduce.h"

namespace tandem::cuda {
namespace {

template <class T>
struct Forward {
  using C = Compute<T>;
  int64_t count, n;
  T* y;
  C* rstd;
  const T* x;
  const C* gain;
  C eps;

  template <class Shape>
  __device__ void run(int64_t row) const {
    constexpr int N = Shape::kWidth;
    const RowChunks<T, Shape> values(x + row * n, n);
    C squares = 0;
    for_chunks_within<Shape>(n, [&](int i, auto j) {
      const Vec<C, N> v = converted<C>(values.at(i, j));
#pragma unroll
      for (int k = 0; k < N; ++k) squares += v.v[k] * v.v[k];
    });
    const C scale = C(1) / std::sqrt(block_sum<Shape::kThreads>(squares) / static_cast<C>(n) + eps);
    for_chunks_within<Shape>(n, [&](int i, auto j) {
      Vec<C, N> v = converted<C>(values.at(i, j));
      const Vec<C, N> factor = load_vector<C, N>(gain + j);
#pragma unroll
      for (int k = 0; k < N; ++k) v.v[k] = v.v[k] * scale * factor.v[k];
      store_vector(y + row * n + j, converted<T>(v));
    });
    if (threadIdx.x == 0) rstd[row] = scale;
  }
};

template <class T>
struct Backward {
  using C = Compute<T>;
  int64_t count, n;
  T* dx;
  const T *dy, *x;
  const C *gain, *rstd;

  template <class Shape>
  __device__ void run(int64_t row) const {
    constexpr int N = Shape::kWidth;
    const RowChunks<T, Shape> gradients(dy + row * n, n), values(x + row * n, n);
    const C scale = rstd[row];
    C sum = 0;
    for_chunks_within<Shape>(n, [&](int i, auto j) {
      const Vec<C, N> g = converted<C>(gradients.at(i, j)), v = converted<C>(values.at(i, j));
      const Vec<C, N> factor = load_vector<C, N>(gain + j);
#pragma unroll
      for (int k = 0; k < N; ++k) sum += g.v[k] * factor.v[k] * (v.v[k] * scale);
    });
    const C mean = block_sum<Shape::kThreads>(sum) / static_cast<C>(n);
    for_chunks_within<Shape>(n, [&](int i, auto j) {
      Vec<C, N> g = converted<C>(gradients.at(i, j));
      const Vec<C, N> v = converted<C>(values.at(i, j)), factor = load_vector<C, N>(gain + j);
#pragma unroll
      for (int k = 0; k < N; ++k)
        g.v[k] = rms_norm_element_backward(g.v[k] * factor.v[k], v.v[k] * scale, scale, mean);
      store_vector(dx + row * n + j, converted<T>(g));
    });
  }
};

constexpr int kThreads = 128;

// sums (chunks, n): dy x_hat, summed over a chunk of rows in order. A thread takes a column.
template <class T>
__global__ void __launch_bounds__(kThreads)
    gain_kernel(double* sums, const T* dy, const T* x, const Compute<T>* rstd, int64_t rows, int64_t n,
                int64_t chunk_rows, int64_t blocks) {
  const int64_t chunk = blockIdx.x / blocks, j = blockIdx.x % blocks * kThreads + threadIdx.x;
  if (j >= n) return;
  const int64_t begin = chunk * chunk_rows, end = begin + chunk_rows < rows ? begin + chunk_rows : rows;
  double sum = 0;
#pragma unroll 4
  for (int64_t row = begin; row < end; ++row) {
    const auto g = static_cast<Compute<T>>(dy[row * n + j]), v = static_cast<Compute<T>>(x[row * n + j]);
    sum += static_cast<double>(g * (v * rstd[row]));
  }
  sums[chunk * n + j] = sum;
}

template <class T, class Direction, class... Addresses>
void run(const Direction& direction, const Addresses*... addresses) {
  constexpr int N = kVector<T>;
  const size_t bytes = sizeof(Vec<Compute<T>, N>);  // of the widest vectors
  if (direction.n % N == 0 && (is_aligned(addresses, bytes) && ...))
    launch_rows<N>(direction, direction.n);
  else
    launch_rows<1>(direction, direction.n);
}

}  // namespace

void rms_norm_forward(const Tensor& y, const Tensor& rstd, const Tensor& x, const Tensor& gain, double eps) {
  dispatch_device_float(x.dtype(), "rms_norm", [&]<class T>() {
    using C = Compute<T>;
    const Forward<T> forward{rstd.numel(), gain.numel(),   y.data<T>(),        rstd.data<C>(),
                             x.data<T>(),  gain.data<C>(), static_cast<C>(eps)};
    run<T>(forward, forward.y, forward.x, forward.gain);
  });
}

void rms_norm_backward(const Tensor& dx, const GradTarget& dgain, const Tensor& dy, const Tensor& x,
                       const Tensor& gain, const Tensor& rstd) {
  const int64_t rows = rstd.numel(), n = gain.numel();
  dispatch_device_float(dy.dtype(), "rms_norm", [&]<class T>() {
    using C = Compute<T>;
    if (dx.defined()) {
      const Backward<T> backward{rows,          n, dx.data<T>(), dy.data<T>(), x.data<T>(), gain.data<C>(),
                                 rstd.data<C>()};
      run<T>(backward, backward.dx, backward.dy, backward.x, backward.gain);
    }
    if (!dgain.grad.defined()) return;
    const int64_t chunk_rows = std::max<int64_t>(32, (rows + 255) / 256),
                  blocks = (n + kThreads - 1) / kThreads;
    const Tensor sums({(rows + chunk_rows - 1) / chunk_rows, n}, DType::f64, gain.device());
    launch(gain_kernel<T>, static_cast<unsigned>(sums.size(0) * blocks), kThreads, 0, compute_stream(),
           sums.data<double>(), dy.data<T>(), x.data<T>(), rstd.data<C>(), rows, n, chunk_rows, blocks);
    sum_axis(dgain.grad, sums, {1, sums.size(0), n}, 1, dgain.accumulate);
  });
}

}  // namespace tandem::cuda
