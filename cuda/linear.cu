// linear: three products, and the column sums for the bias.
//
// Outputs of an odd width, as a vocabulary of 205 bytes gives the logits, would be matrices whose rows lie 410 bytes
// apart, and cuBLASLt's fast kernels load rows at multiples of 16 bytes. Next to bf16 activations the three products
// therefore have y and dy in scratch memory, whose rows are padded to such a multiple.
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

// Products of fewer rows read the weight and little else: no kernel makes up for the copies of y and dy.
constexpr int64_t kFewestPaddedRows = 128;

// Returns true if the products should see x W^T (rows, out) and its gradient with padded rows. Where the rows of x and
// the weight are at odd places themselves, padding y alone gains nothing.
bool pads(const Tensor& y, const Tensor& weight) {
  return y.dtype() == DType::bf16 && weight.size(0) % kWeightRows != 0 && weight.size(1) % kWeightRows == 0 &&
         rows_of(y) >= kFewestPaddedRows;
}

// Copies the rows of x (rows, x_width) to those of y (rows, y_width). Columns of y that x does not have become 0.
template <class T>
__global__ void __launch_bounds__(kMapThreads)
    copy_rows_kernel(T* y, int64_t y_width, const T* x, int64_t x_width, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t row = i / y_width, column = i - row * y_width;
  y[i] = column < x_width ? x[row * x_width + column] : T{};
}

void copy_rows(const Tensor& y, const Tensor& x) {
  launch(copy_rows_kernel<bf16>, blocks_for(y.numel(), kMapThreads), kMapThreads, 0, compute_stream(),
         y.data<bf16>(), y.size(-1), x.data<bf16>(), x.size(-1), y.numel());
}

// Returns memory for y (..., out) as (rows, out rounded up).
Tensor padded_like(const Tensor& y) {
  return Tensor({rows_of(y), round_up(y.size(-1), kWeightRows)}, y.dtype(), y.device());
}
Tensor padded(const Tensor& dy) {
  const Tensor wide = padded_like(dy);
  copy_rows(wide, dy);
  return wide;
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
  const bool wide = pads(y, weight);
  const Tensor to = wide ? padded_like(y) : y;
  Tensor w = weight_as(weight, x.dtype()), b = bias.defined() ? weight_as(bias, y.dtype()) : Tensor();
  // The columns that only pad are sums over rows of zeros. Where there are none, they are left out.
  const Tensor padded_w = wide ? padded_bf16(weight) : Tensor(),
               padded_b = padded_w.defined() && b.defined() ? padded_bf16(bias) : Tensor();
  if (padded_w.defined() && padded_b.defined() == b.defined()) w = padded_w, b = padded_b;
  Gemm product = linear_product(rows_of(y), w, precision);
  product.ldc = to.size(-1);
  gemm(to.raw(), x.raw(), w.raw(), product, {y.dtype(), x.dtype(), w.dtype()},
       b.defined() ? b.raw() : nullptr);
  if (wide) copy_rows(y, to);
}

void linear_backward_input(const Tensor& dx, const Tensor& dy, const Tensor& weight,
                           MatmulPrecision precision) {
  const bool wide = pads(dy, weight);
  const Tensor from = wide ? padded(dy) : dy, padded_w = wide ? padded_bf16(weight) : Tensor();
  const Tensor w = padded_w.defined() ? padded_w : weight_as(weight, dy.dtype());
  Gemm product = linear_input_product(rows_of(dx), w, precision);
  product.lda = from.size(-1);
  gemm(dx.raw(), from.raw(), w.raw(), product, {dx.dtype(), dy.dtype(), w.dtype()});
}

void linear_backward_weight(const Tensor& dweight, const Tensor& dy, const Tensor& x, bool accumulate,
                            MatmulPrecision precision) {
  const Tensor from = pads(dy, dweight) ? padded(dy) : dy;
  Gemm product = linear_weight_product(rows_of(dy), dweight, accumulate, precision);
  product.lda = from.size(-1);
  gemm(dweight.raw(), from.raw(), x.raw(), product, {dweight.dtype(), dy.dtype(), x.dtype()});
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
