// The kernels of adaptive_softmax besides the products and the kernels of cross_entropy: rows added at an
// index, and logits that are columns of a wider matrix.
#include "tandem/ops/adaptive_softmax.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/cuda/runtime/gemm.h"

namespace tandem::cuda {
namespace {

constexpr int kThreads = 256;

// A warp adds one row; no two add to the same one. Memory traffic at least: x is read once, the rows of y are
// read and written once.
template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    add_to_rows_kernel(T* y, const T* x, const int32_t* index, int64_t count, int64_t width) {
  using C = Compute<T>;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (i >= count) return;
  T* const row = y + static_cast<int64_t>(index[i]) * width;
  for (int64_t j = threadIdx.x % kWarp * N; j < width; j += kWarp * N) {
    Vec<T, N> sum = load_vector<T, N>(row + j);
    const Vec<T, N> more = load_vector<T, N>(x + i * width + j);
#pragma unroll
    for (int k = 0; k < N; ++k)
      sum.v[k] = static_cast<T>(static_cast<C>(sum.v[k]) + static_cast<C>(more.v[k]));
    store_vector(row + j, sum);
  }
}

template <class T>
void add_to_rows(T* y, const T* x, const int32_t* index, int64_t count, int64_t width) {
  constexpr int N = kVector<T>;
  const bool wide = width % N == 0 && is_aligned(y) && is_aligned(x);
  launch(wide ? add_to_rows_kernel<T, N> : add_to_rows_kernel<T, 1>, blocks_for(count, kThreads / kWarp),
         kThreads, 0, compute_stream(), y, x, index, count, width);
}

// Fills the padding of the rows, which is a few columns.
template <class T>
__global__ void __launch_bounds__(kMapThreads)
    fill_columns_kernel(T* x, int64_t rows, int64_t width, int64_t first, T value) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (row >= rows) return;
  for (int64_t j = first; j < width; ++j) x[row * width + j] = value;
}

// Memory traffic at least: the logits are read once and y is written once.
template <class T>
__global__ void __launch_bounds__(kMapThreads)
    shift_logits_kernel(Compute<T>* y, int64_t stride, int64_t columns, const T* logits, int64_t width,
                        const double* shift) {
  const int64_t t = blockIdx.x, j = static_cast<int64_t>(blockIdx.y) * kMapThreads + threadIdx.x;
  if (j >= columns) return;
  // In the dtype of y the shift would lose the digits that the difference of two large numbers leaves.
  const auto logit = static_cast<Compute<T>>(logits[t * width + j]);
  y[t * stride + j] = static_cast<Compute<T>>(static_cast<double>(logit) - shift[t]);
}

}  // namespace

void add_to_rows(const Tensor& y, const Tensor& x, const Tensor& index) {
  dispatch_device_float(y.dtype(), "adaptive_softmax", [&]<class T>() {
    add_to_rows(y.data<T>(), x.data<T>(), index.data<int32_t>(), index.numel(), y.size(1));
  });
}

void product_at(const Tensor& c, int64_t first_c, const Tensor& a, int64_t first_a, const Tensor& b,
                const Gemm& product, const Tensor& bias) {
  const auto at = [](const Tensor& x, int64_t first) {
    return static_cast<char*>(x.raw()) + first * static_cast<int64_t>(size_of(x.dtype()));
  };
  gemm(at(c, first_c), at(a, first_a), b.raw(), product, {c.dtype(), a.dtype(), b.dtype()},
       bias.defined() ? bias.raw() : nullptr);
}

void fill_columns(const Tensor& x, int64_t first, double value) {
  dispatch_device_float(x.dtype(), "adaptive_softmax", [&]<class T>() {
    launch(fill_columns_kernel<T>, blocks_for(x.size(0), kMapThreads), kMapThreads, 0, compute_stream(),
           x.data<T>(), x.size(0), x.size(1), first, static_cast<T>(static_cast<Compute<T>>(value)));
  });
}

void shift_logits(const Tensor& y, int64_t first, int64_t columns, const Tensor& logits,
                  const Tensor& shift) {
  dispatch_device_float(logits.dtype(), "adaptive_softmax", [&]<class T>() {
    launch(shift_logits_kernel<T>,
           dim3(static_cast<unsigned>(logits.size(0)), blocks_for(columns, kMapThreads)), kMapThreads, 0,
           compute_stream(), y.data<Compute<T>>() + first, y.size(1), columns, logits.data<T>(),
           logits.size(1), shift.data<double>());
  });
}

void refuse_capture(const char* why) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  TANDEM_CUDA_CHECK(cudaStreamIsCapturing(compute_stream(), &status));
  if (status != cudaStreamCaptureStatusNone)
    throw Error(std::string(why) + ", which a CUDA graph cannot hold");
}

}  // namespace tandem::cuda
