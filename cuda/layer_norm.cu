// Layer normalisation: a warp or a block computes one row, and holds it in registers where it fits.
#include "tandem/ops/layer_norm.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/dropout.cuh"
#include "tandem/cuda/device/rows.cuh"
#include "tandem/ops/support/data_or_null.h"

namespace tandem::cuda {
namespace {

// The inputs that forward and backward share. Parameters and statistics are of type C, in which everything is
// computed.
template <class T, class C>
struct Source {
  const T *x, *a;  // the rows normalised are x, or x + alpha a where a is not null
  const C *alpha, *gain, *bias;
  int64_t rows, n;
  DeviceDropout dropout;
};

// A row of x + alpha a.
template <class T, class C, class Shape>
struct Row {
  static constexpr int N = Shape::kWidth;
  RowChunks<T, Shape> x, a;
  C alpha;

  __device__ __forceinline__ Row(const Source<T, C>& in, int64_t row, C alpha)
      : x(in.x + row * in.n, in.n), a(in.a ? in.a + row * in.n : nullptr, in.n), alpha(alpha) {}
  __device__ __forceinline__ Vec<C, N> at(int i, int64_t j) const {
    Vec<C, N> values = converted<C>(x.at(i, j));
    if (!a) return values;
    const Vec<C, N> more = converted<C>(a.at(i, j));
#pragma unroll
    for (int k = 0; k < N; ++k) values.v[k] += alpha * more.v[k];
    return values;
  }
};

// Memory traffic at least: x (and a) is read once and y written once, 4 (6) bytes an element in bf16. gain
// and bias stay in the L1 cache.
template <class T, class C, class Shape>
__global__ void __launch_bounds__(Shape::kBlock, 1)
    forward_kernel(T* y, Vec<C, 2>* stats, Source<T, C> in, C eps) {
  constexpr int N = Shape::kWidth;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * Shape::kRows + threadIdx.y;
  if (row >= in.rows) return;
  const Row<T, C, Shape> values(in, row, in.a ? *in.alpha : C(0));
  Vec<C, N> x[Shape::kStored];
  C sum = 0;
  for_chunks_within<Shape>(in.n, [&](int i, auto j) {
    x[i] = values.at(i, j);
#pragma unroll
    for (int k = 0; k < N; ++k) sum += x[i].v[k];
  });
  const C mean = block_sum<Shape::kThreads>(sum) / static_cast<C>(in.n);
  C squares = 0;
  for_chunks_within<Shape>(in.n, [&](int i, auto j) {
    if constexpr (!Shape::kHeld) x[i] = values.at(i, j);
#pragma unroll
    for (int k = 0; k < N; ++k) squares += (x[i].v[k] - mean) * (x[i].v[k] - mean);
  });
  const C variance = block_sum<Shape::kThreads>(squares) / static_cast<C>(in.n);
  const C rstd = C(1) / std::sqrt(variance + eps);
  const DropoutKey key = in.dropout.on() ? current_key(in.dropout) : DropoutKey();
  for_chunks_within<Shape>(in.n, [&](int i, auto j) {
    if constexpr (!Shape::kHeld) x[i] = values.at(i, j);
    const Vec<C, N> gain = load_vector<C, N>(in.gain + j), bias = load_vector<C, N>(in.bias + j);
    Vec<C, N> out;
#pragma unroll
    for (int k = 0; k < N; ++k) out.v[k] = layer_norm_element(x[i].v[k], mean, rstd, gain.v[k], bias.v[k]);
    if (in.dropout.on()) drop(out, in.dropout, key, row * in.n + j);
    store_vector(y + row * in.n + j, converted<T>(out));
  });
  if (threadIdx.x == 0) stats[row] = {{mean, rstd}};
}

template <class T>
struct Outputs {
  T *dx, *da;  // null if not wanted
};

// Returns the number of sums that a chunk of rows writes, for dgain (n), dbias (n) and dalpha, padded to
// whole vectors.
__host__ __device__ inline int64_t chunk_sums_size(int64_t n) {
  return (2 * n + 1 + 15) / 16 * 16;
}

// Computes dx and da for a block's chunk of rows, and the chunk's sums. The formula is at backward_row() in
// ops/layer_norm.cpp. Memory traffic at least: dy and x (and a) are read once and dx (and da) written once, 6
// (10) bytes an element in bf16, and 16 / chunk_rows bytes for the sums.
template <class T, class C, class Shape>
__global__ void __launch_bounds__(Shape::kBlock, 1)
    backward_kernel(Outputs<T> out, C* all_sums, const T* dys, const Vec<C, 2>* stats, Source<T, C> in,
                    int64_t chunk_rows) {
  constexpr int N = Shape::kWidth;
  const int64_t n = in.n, first = blockIdx.x * chunk_rows,
                end = first + chunk_rows < in.rows ? first + chunk_rows : in.rows;
  C* const chunk_sums = all_sums + blockIdx.x * chunk_sums_size(n);
  // Each thread sums over the rows for its own columns: in shared memory, or directly in chunk_sums.
  C* own = chunk_sums;
  if constexpr (Shape::kHeld) own = dynamic_shared<C>() + 2 * n * threadIdx.y;
  for_chunks_within<Shape>(n, [&](int, auto j) {
    store_vector(own + j, Vec<C, N>{});
    store_vector(own + n + j, Vec<C, N>{});
  });
  C dalpha = 0;
  const C alpha = in.a ? *in.alpha : C(0), inverse_n = C(1) / static_cast<C>(n);
  const DropoutKey key = in.dropout.on() ? current_key(in.dropout) : DropoutKey();
  for (int64_t row = first + threadIdx.y; row < end; row += Shape::kRows) {
    const RowChunks<T, Shape> dy(dys + row * n, n);
    const Row<T, C, Shape> values(in, row, alpha);
    const C mean = stats[row].v[0], rstd = stats[row].v[1];
    Vec<C, N> g[Shape::kStored], x_hat[Shape::kStored];
    // Fills in x_hat and g = dy gain, and returns dy.
    const auto prepare = [&](int i, int64_t j) {
      Vec<C, N> kept = converted<C>(dy.at(i, j));
      if (in.dropout.on()) drop(kept, in.dropout, key, row * n + j);
      const Vec<C, N> x = values.at(i, j), gain = load_vector<C, N>(in.gain + j);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        x_hat[i].v[k] = (x.v[k] - mean) * rstd;
        g[i].v[k] = kept.v[k] * gain.v[k];
      }
      return kept;
    };
    C sum_g = 0, sum_gx = 0;
    for_chunks_within<Shape>(n, [&](int i, auto j) {
      const Vec<C, N> kept = prepare(i, j);
      Vec<C, N> dgain = load_vector<C, N>(own + j), dbias = load_vector<C, N>(own + n + j);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        sum_g += g[i].v[k];
        sum_gx += g[i].v[k] * x_hat[i].v[k];
        dgain.v[k] += kept.v[k] * x_hat[i].v[k];
        dbias.v[k] += kept.v[k];
      }
      store_vector(own + j, dgain);
      store_vector(own + n + j, dbias);
    });
    const C mean_g = block_sum<Shape::kThreads>(sum_g) * inverse_n;
    const C mean_gx = block_sum<Shape::kThreads>(sum_gx) * inverse_n;
    for_chunks_within<Shape>(n, [&](int i, auto j) {
      if constexpr (!Shape::kHeld) prepare(i, j);
      Vec<C, N> dx;
#pragma unroll
      for (int k = 0; k < N; ++k)
        dx.v[k] = layer_norm_element_backward(g[i].v[k], x_hat[i].v[k], rstd, mean_g, mean_gx);
      if (out.dx) store_vector(out.dx + row * n + j, converted<T>(dx));
      if (!in.a) return;
      const Vec<C, N> a = converted<C>(values.a.at(i, j));
#pragma unroll
      for (int k = 0; k < N; ++k) {
        dalpha += a.v[k] * dx.v[k];
        dx.v[k] *= alpha;
      }
      if (out.da) store_vector(out.da + row * n + j, converted<T>(dx));
    });
  }

  // Adds the sums of the rows of threads, in order.
  __shared__ C dalphas[Shape::kRows];
  dalpha = block_sum<Shape::kThreads>(dalpha);
  if (threadIdx.x == 0) dalphas[threadIdx.y] = dalpha;
  __syncthreads();
  const int thread = static_cast<int>(threadIdx.y * Shape::kThreads + threadIdx.x);
  if constexpr (Shape::kHeld)
    for (int64_t j = thread; j < 2 * n; j += Shape::kBlock) {
      C sum = 0;
      for (int r = 0; r < Shape::kRows; ++r) sum += dynamic_shared<C>()[2 * n * r + j];
      chunk_sums[j] = sum;
    }
  if (thread > 0) return;
  C sum = 0;
  for (int r = 0; r < Shape::kRows; ++r) sum += dalphas[r];
  chunk_sums[2 * n] = sum;
}

template <class C>
struct Target {
  C* grad;  // null if not wanted
  bool accumulate;
};
template <class C>
struct Targets {
  Target<C> dgain, dbias, dalpha;
};

constexpr int kColumns = 32, kRowsAtOnce = 32;

// Adds the sums of all chunks, column by column: 32 threads add a share each, and these are added in order.
template <class C>
__global__ void __launch_bounds__(kColumns* kRowsAtOnce)
    add_chunks_kernel(Targets<C> out, const C* sums, int64_t chunks, int64_t n) {
  __shared__ C parts[kRowsAtOnce][kColumns];
  const int column = static_cast<int>(threadIdx.x) % kColumns,
            part = static_cast<int>(threadIdx.x) / kColumns;
  const int64_t width = 2 * n + 1, j = static_cast<int64_t>(blockIdx.x) * kColumns + column;
  C sum = 0;
  if (j < width)
#pragma unroll 8
    for (int64_t chunk = part; chunk < chunks; chunk += kRowsAtOnce)
      sum += sums[chunk * chunk_sums_size(n) + j];
  parts[part][column] = sum;
  __syncthreads();
  if (part > 0 || j >= width) return;
  for (int i = 1; i < kRowsAtOnce; ++i) sum += parts[i][column];
  const auto put = [sum](const Target<C>& target, int64_t at) {
    if (target.grad) target.grad[at] = target.accumulate ? target.grad[at] + sum : sum;
  };
  if (j < n)
    put(out.dgain, j);
  else if (j < 2 * n)
    put(out.dbias, j - n);
  else
    put(out.dalpha, 0);
}

template <class C>
Target<C> target_of(const GradTarget& target) {
  return {data_or_null<C>(target.grad), target.accumulate};
}

template <class T, class C>
Source<T, C> source_of(const LayerNormRows& in, const Tensor& gain, const Tensor& bias, int64_t rows,
                       const LayerNormOptions& options) {
  return {in.x.data<T>(),
          data_or_null<T>(in.a),
          data_or_null<C>(in.alpha),
          gain.data<C>(),
          data_or_null<C>(bias),
          rows,
          gain.numel(),
          DeviceDropout::with(options.dropout, options.key)};
}

// Calls f(RowShape) for rows of n elements of T, in vectors where n and the addresses of all tensors allow
// them.
template <class T, class F, class... Tensors>
void with_shape(int64_t n, const F& f, const Tensors&... tensors) {
  constexpr int N = kVector<T>;
  const size_t bytes = sizeof(Vec<Compute<T>, N>);  // of the widest vectors
  if (n % N == 0 && ((!tensors.defined() || is_aligned(tensors.raw(), bytes)) && ...))
    with_row_shape<N>(n, f);
  else
    with_row_shape<1>(n, f);
}

template <class T>
void forward(const Tensor& y, const Tensor& stats, const LayerNormRows& in, const Tensor& gain,
             const Tensor& bias, const LayerNormOptions& options) {
  using C = Compute<T>;
  const Source<T, C> source = source_of<T, C>(in, gain, bias, stats.size(0), options);
  const auto run = [&]<class Shape>(Shape) {
    launch(forward_kernel<T, C, Shape>, blocks_for(source.rows, Shape::kRows),
           dim3(Shape::kThreads, Shape::kRows), 0, compute_stream(), y.data<T>(),
           static_cast<Vec<C, 2>*>(stats.raw()), source, static_cast<C>(options.eps));
  };
  with_shape<T>(source.n, run, y, in.x, in.a, gain, bias);
}

template <class T>
void backward(const LayerNormGrads& out, const Tensor& dy, const LayerNormRows& in, const Tensor& gain,
              const Tensor& stats, const LayerNormOptions& options) {
  using C = Compute<T>;
  const Source<T, C> source = source_of<T, C>(in, gain, Tensor(), stats.size(0), options);
  // Enough chunks to fill the device, and so few that their sums cost little. The sizes alone decide.
  const int64_t chunk_rows = std::max<int64_t>(8, (source.rows + 1023) / 1024);
  const unsigned chunks = blocks_for(source.rows, chunk_rows);
  const Tensor sums({chunks, chunk_sums_size(source.n)}, gain.dtype(), gain.device());
  const auto run = [&]<class Shape>(Shape) {
    const size_t shared = Shape::kHeld ? sizeof(C) * 2 * source.n * Shape::kRows : 0;
    launch(backward_kernel<T, C, Shape>, chunks, dim3(Shape::kThreads, Shape::kRows), shared,
           compute_stream(), Outputs<T>{data_or_null<T>(out.dx), data_or_null<T>(out.da)}, sums.data<C>(),
           dy.data<T>(), static_cast<const Vec<C, 2>*>(stats.raw()), source, chunk_rows);
  };
  with_shape<T>(source.n, run, out.dx, out.da, dy, in.x, in.a, gain);
  const Targets<C> targets{target_of<C>(out.dgain), target_of<C>(out.dbias), target_of<C>(out.dalpha)};
  if (targets.dgain.grad || targets.dbias.grad || targets.dalpha.grad)
    launch(add_chunks_kernel<C>, blocks_for(2 * source.n + 1, kColumns), kColumns * kRowsAtOnce, 0,
           compute_stream(), targets, sums.data<C>(), int64_t{chunks}, source.n);
}

}  // namespace

void layer_norm_forward(const Tensor& y, const Tensor& stats, const LayerNormRows& in, const Tensor& gain,
                        const Tensor& bias, const LayerNormOptions& options) {
  dispatch_device_float(y.dtype(), "layer_norm",
                        [&]<class T>() { forward<T>(y, stats, in, gain, bias, options); });
}

void layer_norm_backward(const LayerNormGrads& out, const Tensor& dy, const LayerNormRows& in,
                         const Tensor& gain, const Tensor& stats, const LayerNormOptions& options) {
  dispatch_device_float(dy.dtype(), "layer_norm",
                        [&]<class T>() { backward<T>(out, dy, in, gain, stats, options); });
}

}  // namespace tandem::cuda
