// Dropout: masks are drawn where they are used and never stored.
#include "tandem/ops/dropout.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/dropout.cuh"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

// A Philox block serves four elements, so a thread takes at least that many, and all of 16 bytes.
template <class T>
inline constexpr int kElements = std::max(4, kVector<T>);

// Computes y = x * mask for a mask of `period` elements, or the mask itself, without reading x. A thread
// draws the factors of its N elements once and applies them to `stretch` repetitions of the mask. Memory
// traffic at least: x and y once, 4 bytes an element in bf16. Drawing, about 60 instructions for four words,
// takes about as long as that.
template <class T, bool kWide, bool kMaskAlone>
__global__ void __launch_bounds__(kMapThreads)
    dropout_kernel(T* y, const T* x, int64_t period, int64_t repeats, int64_t stretch,
                   DeviceDropout dropout) {
  using C = Compute<T>;
  constexpr int N = kElements<T>;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * N;
  if (first >= period) return;
  const Factors<C, N> factors = mask_factors<C, N>(dropout, current_key(dropout), first);
  const int64_t begin = blockIdx.y * stretch, end = begin + stretch < repeats ? begin + stretch : repeats;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t at = r * period + first;
    if constexpr (kWide) {  // N divides the period
      Vec<T, N> out;
      if constexpr (!kMaskAlone) out = load_vector<T, N>(x + at);
#pragma unroll
      for (int k = 0; k < N; ++k)
        out.v[k] =
            static_cast<T>(kMaskAlone ? factors.v[k] : dropped(static_cast<C>(out.v[k]), factors.v[k]));
      store_vector(y + at, out);
    } else {
#pragma unroll
      for (int k = 0; k < N; ++k)
        if (first + k < period)
          y[at + k] =
              static_cast<T>(kMaskAlone ? factors.v[k] : dropped(static_cast<C>(x[at + k]), factors.v[k]));
    }
  }
}

template <bool kMaskAlone, class T>
void run(T* y, const T* x, int64_t period, int64_t repeats, double p, const DropoutKey& key) {
  constexpr int N = kElements<T>;
  constexpr int64_t kEnoughThreads = 1 << 19, kMaxGridY = 65535;
  const int64_t threads = (period + N - 1) / N;
  // Repetitions share a drawing as far as the device stays busy.
  const int64_t stretch = std::max(std::clamp<int64_t>(threads * repeats / kEnoughThreads, 1, 16),
                                   (repeats + kMaxGridY - 1) / kMaxGridY);
  const size_t bytes = sizeof(Vec<T, N>);
  const bool wide = is_aligned(y, bytes) && is_aligned(x, bytes) && period % N == 0;
  launch(wide ? dropout_kernel<T, true, kMaskAlone> : dropout_kernel<T, false, kMaskAlone>,
         dim3(blocks_for(threads, kMapThreads), blocks_for(repeats, stretch)), kMapThreads, 0,
         compute_stream(), y, x, period, repeats, stretch, DeviceDropout::with(p, key));
}

}  // namespace

void dropout(const Tensor& y, const Tensor& x, int64_t period, double p, DropoutKey key) {
  if (x.numel() == 0) return;
  dispatch_device_float(x.dtype(), "dropout", [&]<class T>() {
    run<false>(y.data<T>(), x.data<T>(), period, x.numel() / period, p, key);
  });
}

void dropout_mask(const Tensor& mask, double p, DropoutKey key) {
  dispatch_device_float(mask.dtype(), "dropout_mask",
                        [&]<class T>() { run<true, T>(mask.data<T>(), nullptr, mask.numel(), 1, p, key); });
}

}  // namespace tandem::cuda
