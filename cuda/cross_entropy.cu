// Softmax and negative log-likelihood: a warp or a block computes one row of logits.
#include "tandem/ops/cross_entropy.h"

#include <cfloat>

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/rows.cuh"

namespace tandem::cuda {
namespace {

// Computes nll and, unless it is null, lse of a row; with kReplace the logits are replaced by their gradient.
// There is one pass, in which each thread keeps its largest logit and the sum of the exponentials relative to
// that. Memory traffic at least: the logits are read once, and written once if replaced, 2 or 4 bytes an
// element in bf16. To be replaced, rows that do not fit into registers (rows.cuh) are read again.
template <class T, bool kReplace>
struct Losses {
  using C = Compute<T>;
  double *nll, *lse;
  T* logits;
  const int32_t* targets;
  int64_t count, n;
  C factor;

  template <class Shape>
  __device__ void run(int64_t row) const {
    constexpr int N = Shape::kWidth;
    T* const x = logits + row * n;
    const RowChunks<T, Shape> chunks(x, n);
    const int64_t target = targets[row];
    // Read before it is replaced. A target outside the row gives NaN.
    const double wanted = target >= 0 && target < n ? static_cast<double>(static_cast<C>(x[target])) : NAN;
    // Finite, so that a logit of -infinity counts as 0; infinity and NaN show in the sum.
    constexpr C kLowest = std::is_same_v<C, double> ? C(-DBL_MAX) : C(-FLT_MAX);
    C largest = kLowest, sum = 0;
    for_chunks_within<Shape>(n, [&](int i, auto j) {
      const Vec<C, N> values = converted<C>(chunks.at(i, j));
      C top = largest;
#pragma unroll
      for (int k = 0; k < N; ++k) top = values.v[k] > top ? values.v[k] : top;
      sum *= fast_exp(largest - top);
#pragma unroll
      for (int k = 0; k < N; ++k) sum += fast_exp(values.v[k] - top);
      largest = top;
    });
    const C top = block_max<Shape::kThreads>(largest);
    sum = block_sum<Shape::kThreads>(sum * fast_exp(largest - top));
    if (threadIdx.x == 0) {
      const double log_sum = static_cast<double>(top) + std::log(static_cast<double>(sum));
      if (lse) lse[row] = log_sum;
      nll[row] = log_sum - wanted;
    }
    if constexpr (kReplace) {
      const C share = factor / sum;
      for_chunks_within<Shape>(n, [&](int i, auto j) {
        Vec<C, N> values = converted<C>(chunks.at(i, j));
#pragma unroll
        for (int k = 0; k < N; ++k)
          values.v[k] = fast_exp(values.v[k] - top) * share - (j + k == target ? factor : C(0));
        store_vector(x + j, converted<T>(values));
      });
    }
  }
};

// Computes dx = (softmax(x) - one_hot(target)) share. Memory traffic at least: x is read once and dx written
// once, 4 bytes an element in bf16.
template <class T>
struct Backward {
  using C = Compute<T>;
  T* dlogits;
  const C* dy;
  int64_t dy_step;  // 0 if one gradient serves all tokens
  const T* logits;
  const double* lse;
  const int32_t* targets;
  int64_t count, n;
  C factor;

  template <class Shape>
  __device__ void run(int64_t row) const {
    constexpr int N = Shape::kWidth;
    const RowChunks<T, Shape> chunks(logits + row * n, n);
    const int64_t target = targets[row];
    const C share = factor * dy[row * dy_step], log_sum = static_cast<C>(lse[row]);
    // The factor takes up the part of the sum that C cannot hold, since x minus the rounded sum is exact.
    const C scale = static_cast<C>(share * std::exp(static_cast<double>(log_sum) - lse[row]));
    for_chunks_within<Shape>(n, [&](int i, auto j) {
      Vec<C, N> values = converted<C>(chunks.at(i, j));
#pragma unroll
      for (int k = 0; k < N; ++k)
        values.v[k] = fast_exp(values.v[k] - log_sum) * scale - (j + k == target ? share : C(0));
      store_vector(dlogits + row * n + j, converted<T>(values));
    });
  }
};

template <class T, class Rows, class... Tensors>
void launch_on(const Rows& rows, const Tensors&... tensors) {
  constexpr int N = kVector<T>;
  if (rows.n % N == 0 && (is_aligned(tensors.raw()) && ...))
    launch_rows<N>(rows, rows.n);
  else
    launch_rows<1>(rows, rows.n);
}

// Multiplies x by *factor. The gradient of a loss is mostly 1: then nothing but the factor is read.
template <class T, int N>
__global__ void __launch_bounds__(kMapThreads) scale_kernel(T* x, int64_t n, const Compute<T>* factor) {
  using C = Compute<T>;
  const C by = *factor;
  if (by == 1) return;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kMapThreads * N;
  for (int64_t i = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * N; i < n; i += stride) {
    Vec<C, N> values = converted<C>(load_vector<T, N>(x + i));
#pragma unroll
    for (int k = 0; k < N; ++k) values.v[k] *= by;
    store_vector(x + i, converted<T>(values));
  }
}

template <class T, int N>
void scale(T* x, int64_t n, const Compute<T>* factor) {
  const unsigned enough = 16u * static_cast<unsigned>(context().multiprocessors);
  launch(scale_kernel<T, N>, std::min(blocks_for(n, int64_t{N} * kMapThreads), enough), kMapThreads, 0,
         compute_stream(), x, n, factor);
}

}  // namespace

void token_nll_forward(const Tensor& nll, const Tensor& lse, const Tensor& logits, const Tensor& targets) {
  dispatch_device_float(logits.dtype(), "cross_entropy", [&]<class T>() {
    const Losses<T, false> rows{
        nll.data<double>(), lse.data<double>(), logits.data<T>(), targets.data<int32_t>(),
        targets.numel(),    logits.size(-1),    Compute<T>(0)};
    launch_on<T>(rows, logits);
  });
}

void token_nll_backward(const Tensor& dlogits, const Tensor& dy, const Tensor& logits, const Tensor& lse,
                        const Tensor& targets, double factor) {
  dispatch_device_float(logits.dtype(), "cross_entropy", [&]<class T>() {
    using C = Compute<T>;
    const Backward<T> rows{dlogits.data<T>(), dy.data<C>(),       dy.numel() == 1 ? 0 : 1,
                           logits.data<T>(),  lse.data<double>(), targets.data<int32_t>(),
                           targets.numel(),   logits.size(-1),    static_cast<C>(factor)};
    launch_on<T>(rows, dlogits, logits);
  });
}

void token_nll_in_place(const Tensor& nll, const Tensor& logits, const Tensor& targets, double factor) {
  dispatch_device_float(logits.dtype(), "cross_entropy", [&]<class T>() {
    const Losses<T, true> rows{nll.data<double>(),
                               nullptr,
                               logits.data<T>(),
                               targets.data<int32_t>(),
                               targets.numel(),
                               logits.size(-1),
                               static_cast<Compute<T>>(factor)};
    launch_on<T>(rows, logits);
  });
}

void scale_by(const Tensor& x, const Tensor& factor) {
  dispatch_device_float(x.dtype(), "cross_entropy", [&]<class T>() {
    constexpr int N = kVector<T>;
    const auto* by = factor.data<Compute<T>>();
    if (x.numel() % N == 0 && is_aligned(x.raw()))
      scale<T, N>(x.data<T>(), x.numel(), by);
    else
      scale<T, 1>(x.data<T>(), x.numel(), by);
  });
}

}  // namespace tandem::cuda
