// linear: three products, and the column sums for the bias.
#include "tandem/ops/linear.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/cuda/runtime/gemm.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem::cuda {
namespace {

int64_t rows_of(const Tensor& x) {
  return x.size(-1) == 0 ? 0 : x.numel() / x.size(-1);
}

constexpr int kRowLanes = 8;         // rows that a block reads at once, kWarp columns of each
constexpr int64_t kChunkRows = 256;  // rows that a block sums

// Computes sums (chunks, width), the column sums of each chunk of rows.
template <class T>
__global__ void __launch_bounds__(kWarp* kRowLanes)
    chunk_sums(Compute<T>* sums, const T* x, int64_t rows, int64_t width) {
  __shared__ Compute<T> parts[kRowLanes][kWarp];
  const int lane = threadIdx.x % kWarp, row_lane = threadIdx.x / kWarp;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kWarp + lane;
  const int64_t first = blockIdx.y * kChunkRows, end = std::min(rows, first + kChunkRows);
  Compute<T> sum = 0;
  for (int64_t row = first + row_lane; row < end && column < width; row += kRowLanes)
    sum += static_cast<Compute<T>>(x[row * width + column]);
  parts[row_lane][lane] = sum;
  __syncthreads();
  if (row_lane > 0 || column >= width) return;
  for (int i = 1; i < kRowLanes; ++i) sum += parts[i][lane];
  sums[blockIdx.y * width + column] = sum;
}

template <class D, class C>
__global__ void __launch_bounds__(kMapThreads)
    add_chunks(D* y, const C* sums, int64_t chunks, int64_t width, bool accumulate) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (column >= width) return;
  C sum = accumulate ? static_cast<C>(y[column]) : C(0);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += sums[chunk * width + column];
  y[column] = static_cast<D>(sum);
}

}  // namespace

void linear_forward(const Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    MatmulPrecision precision) {
  const Tensor w = weight_as(weight, x.dtype());
  const Tensor b = bias.defined() ? weight_as(bias, y.dtype()) : Tensor();
  gemm(y.raw(), x.raw(), w.raw(), linear_product(rows_of(y), weight, precision),
       {y.dtype(), x.dtype(), w.dtype()}, b.defined() ? b.raw() : nullptr);
}

void linear_backward_input(const Tensor& dx, const Tensor& dy, const Tensor& weight,
                           MatmulPrecision precision) {
  const Tensor w = weight_as(weight, dy.dtype());
  gemm(dx.raw(), dy.raw(), w.raw(), linear_input_product(rows_of(dx), weight, precision),
       {dx.dtype(), dy.dtype(), w.dtype()});
}

void linear_backward_weight(const Tensor& dweight, const Tensor& dy, const Tensor& x, bool accumulate,
                            MatmulPrecision precision) {
  gemm(dweight.raw(), dy.raw(), x.raw(), linear_weight_product(rows_of(dy), dweight, accumulate, precision),
       {dweight.dtype(), dy.dtype(), x.dtype()});
}

void linear_backward_bias(const Tensor& dbias, const Tensor& dy, bool accumulate) {
  const int64_t rows = rows_of(dy), width = dbias.size(0), chunks = (rows + kChunkRows - 1) / kChunkRows;
  dispatch_device_float(dy.dtype(), "linear", [&]<class T>() {
    using C = Compute<T>;
    const Tensor sums({chunks, width}, dtype_of<C>(), dy.device());
    launch(chunk_sums<T>, dim3(blocks_for(width, kWarp), static_cast<unsigned>(chunks)), kWarp * kRowLanes, 0,
           compute_stream(), sums.data<C>(), dy.data<T>(), rows, width);
    const auto add = [&](auto* y) {
      launch(add_chunks<std::remove_pointer_t<decltype(y)>, C>, blocks_for(width, kMapThreads), kMapThreads,
             0, compute_stream(), y, sums.data<C>(), chunks, width, accumulate);
    };
    if (dbias.dtype() == dy.dtype())
      add(dbias.data<T>());
    else
      add(dbias.data<float>());
  });
}

}  // namespace tandem::cuda
