// Whole-array primitives on the GPU (core/array.h).
#include "tandem/core/array.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/cuda/device/launch_table.cuh"

namespace tandem::cuda {
namespace {

template <class To, class From>
__device__ __forceinline__ To cast(From value) {
  if constexpr (std::is_same_v<To, bf16>)
    return bf16(static_cast<float>(value));
  else if constexpr (std::is_same_v<From, bf16>)
    return static_cast<To>(static_cast<float>(value));
  else
    return static_cast<To>(value);
}

template <class T>
__global__ void __launch_bounds__(kMapThreads) fill_kernel(T* y, int64_t n, T value) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i < n) y[i] = value;
}

template <class To, class From>
__global__ void __launch_bounds__(kMapThreads) convert_kernel(To* y, const From* x, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i < n) y[i] = cast<To>(x[i]);
}

template <class T>
struct Rounded {
  __device__ Compute<T> operator()(int64_t, Compute<T> x) const { return x; }
};
struct Plus {
  template <class T>
  __device__ T operator()(int64_t, T y, T x) const {
    return y + x;
  }
};

// Bytes in vectors of 16, the rest one by one.
__global__ void __launch_bounds__(kMapThreads)
    copy_if_kernel(char* y, const char* x, int64_t bytes, const double* flag) {
  if (*flag == 0) return;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * 16;
  if (first + 16 <= bytes && is_aligned(x) && is_aligned(y))
    store_vector(y + first, load_vector<char, 16>(x + first));
  else
    for (int64_t i = first; i < std::min(bytes, first + 16); ++i) y[i] = x[i];
}

// One tensor that pack() copies.
struct Piece {
  char* to;
  const char* from;
  int64_t bytes;
  int end_block;  // its blocks are those from the piece before on
};
constexpr int kPieces = 120;
constexpr int64_t kPieceShare = 16 * kMapThreads * 8;  // bytes of a block
// A launch takes it by value, so that a CUDA graph holds the addresses.
struct PieceTable {
  Piece pieces[kPieces];
  int count = 0;
};
static_assert(sizeof(PieceTable) <= 3900);  // all arguments of a launch fit into 4 KiB

__global__ void __launch_bounds__(kMapThreads) pack_kernel(const PieceTable table) {
  const int i = entry_of_block(table.pieces, table.count);
  const Piece& piece = table.pieces[i];
  const int64_t begin = block_in_entry(table.pieces, i) * kPieceShare;
  const int64_t end = begin + kPieceShare < piece.bytes ? begin + kPieceShare : piece.bytes;
  const int64_t vectors_end =
      is_aligned(piece.to) && is_aligned(piece.from) ? end - (end - begin) % 16 : begin;
#pragma unroll 8
  for (int64_t k = begin + threadIdx.x * 16; k < vectors_end; k += kMapThreads * 16)
    store_vector(piece.to + k, load_vector<char, 16>(piece.from + k));
  for (int64_t k = vectors_end + threadIdx.x; k < end; k += kMapThreads) piece.to[k] = piece.from[k];
}

// Each block looks at every gridDim.x-th stretch; one flag for all.
template <class T>
__global__ void __launch_bounds__(kMapThreads) not_finite_kernel(int* found, const T* x, int64_t n) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kMapThreads;
  bool bad = false;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x; i < n; i += stride) {
    const Compute<T> value = static_cast<Compute<T>>(x[i]);
    bad = bad || !(value - value == 0);  // NaN and infinity alone
  }
  if (bad) *found = 1;  // all threads that write, write the same
}

}  // namespace

void fill(const Tensor& y, double value) {
  if (y.numel() == 0) return;
  if (value == 0) {
    TANDEM_CUDA_CHECK(cudaMemsetAsync(y.raw(), 0, y.nbytes(), compute_stream()));
    return;
  }
  dispatch_dtype(y.dtype(), [&]<class T>() {
    const T element = [value] {
      if constexpr (std::is_same_v<T, bf16>)
        return bf16(static_cast<float>(value));
      else
        return static_cast<T>(value);
    }();
    launch(fill_kernel<T>, blocks_for(y.numel(), kMapThreads), kMapThreads, 0, compute_stream(), y.data<T>(),
           y.numel(), element);
  });
}

void convert(const Tensor& y, const Tensor& x) {
  if (x.numel() == 0) return;
  if (x.dtype() == y.dtype()) {
    TANDEM_CUDA_CHECK(
        cudaMemcpyAsync(y.raw(), x.raw(), x.nbytes(), cudaMemcpyDeviceToDevice, compute_stream()));
    return;
  }
  if (x.dtype() == DType::f32 && y.dtype() == DType::bf16)  // what training does most, in wide loads
    return map(y.data<bf16>(), y.numel(), Rounded<float>(), x.data<float>());
  if (x.dtype() == DType::bf16 && y.dtype() == DType::f32)
    return map(y.data<float>(), y.numel(), Rounded<bf16>(), x.data<bf16>());
  dispatch_dtype(x.dtype(), [&]<class From>() {
    dispatch_dtype(y.dtype(), [&]<class To>() {
      launch(convert_kernel<To, From>, blocks_for(y.numel(), kMapThreads), kMapThreads, 0, compute_stream(),
             y.data<To>(), x.data<From>(), y.numel());
    });
  });
}

void copy_across(const Tensor& y, const Tensor& x) {
  if (x.numel() == 0) return;
  const cudaMemcpyKind kind = x.device().is_cpu() ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost;
  TANDEM_CUDA_CHECK(cudaMemcpyAsync(y.raw(), x.raw(), x.nbytes(), kind, compute_stream()));
  TANDEM_CUDA_CHECK(
      cudaStreamSynchronize(compute_stream()));  // the host's tensor may be freed or read at once
}

void copy_if(const Tensor& y, const Tensor& x, const Tensor& flag) {
  const auto bytes = static_cast<int64_t>(x.nbytes());
  launch(copy_if_kernel, blocks_for(bytes, 16 * kMapThreads), kMapThreads, 0, compute_stream(),
         static_cast<char*>(y.raw()), static_cast<const char*>(x.raw()), bytes, flag.data<double>());
}

void add_in_place(const Tensor& y, const Tensor& x) {
  dispatch_device_float(y.dtype(), "add_in_place",
                        [&]<class T>() { map(y.data<T>(), y.numel(), Plus(), y.data<T>(), x.data<T>()); });
}

void pack(const Tensor& y, const std::vector<Tensor>& xs, const std::vector<int64_t>& begins) {
  PieceTable table;
  int blocks = 0;
  const auto copy_pieces = [&table, &blocks] {
    launch(pack_kernel, static_cast<unsigned>(blocks), kMapThreads, 0, compute_stream(), table);
    table.count = blocks = 0;
  };
  for (size_t i = 0; i < xs.size(); ++i) {
    const auto bytes = static_cast<int64_t>(xs[i].nbytes());
    if (bytes == 0) continue;
    char* const to = static_cast<char*>(y.raw()) + begins[i] * static_cast<int64_t>(size_of(y.dtype()));
    blocks += static_cast<int>(blocks_for(bytes, kPieceShare));
    table.pieces[table.count++] = {to, static_cast<const char*>(xs[i].raw()), bytes, blocks};
    if (table.count == kPieces) copy_pieces();
  }
  copy_pieces();
}

void all_finite(bool& finite, const Tensor& x) {
  finite = true;
  if (!is_floating(x.dtype()) || x.numel() == 0) return;
  const Tensor found({1}, DType::i32, x.device());
  cuda::fill(found, 0);
  const unsigned blocks =
      std::min(blocks_for(x.numel(), kMapThreads), 4u * static_cast<unsigned>(context().multiprocessors));
  dispatch_device_float(x.dtype(), "all_finite", [&]<class T>() {
    launch(not_finite_kernel<T>, blocks, kMapThreads, 0, compute_stream(), found.data<int32_t>(), x.data<T>(),
           x.numel());
  });
  finite = found.to_vector<int32_t>()[0] == 0;
}

}  // namespace tandem::cuda
