// causal_conv: a thread filters some channels of a few consecutive time steps of one batch row.
//
// Memory traffic at least: forward reads x and writes y; backward reads dy and x and writes dx. Each row is
// read for K taps; as blocks take neighbouring time steps, the caches serve all reads but the first.
#include "tandem/ops/causal_conv.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/ops/reduce.h"
#include "tandem/ops/support/data_or_null.h"

namespace tandem::cuda {
namespace {

constexpr int kWarps = 8;  // warps of a block
constexpr int kSteps = 4;  // consecutive time steps that a thread filters, for each tap it loads
constexpr int kTaps = 4;   // whose gradients a thread sums, for each element of dy it loads

// weight (C, K) as taps (K, C), so that a tap is a row.
template <class C>
__global__ void __launch_bounds__(kMapThreads)
    taps_kernel(C* taps, const C* weight, int64_t width, int64_t channels) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i < width * channels) taps[i] = weight[i % channels * width + i / channels];
}

// For the steps first..out.steps-1, out is the bias (or 0) plus the sum over the taps k of tap times the row
// of `in` that lies K - 1 - k steps before, or, in backward, after.
template <class T>
struct Filter {
  using C = Compute<T>;
  TimeSteps<T> out;
  TimeSteps<const T> in;
  const C* bias;  // (C) or null
  int64_t first;
  bool back;
  const C* taps = nullptr;  // (K, C)
  int64_t width = 0, channels = 0;
};

template <int N, class T>
__global__ void __launch_bounds__(kWarp* kWarps) filter_kernel(const Filter<T> f, int64_t channel_blocks) {
  using C = Compute<T>;
  const int64_t channel = (blockIdx.x % channel_blocks * kWarp + threadIdx.x) * N;
  const int64_t begin = f.first + (int64_t{blockIdx.y} * kWarps + threadIdx.y) * kSteps;
  if (channel >= f.channels) return;
  const int64_t column = blockIdx.x / channel_blocks * f.channels + channel;
  Vec<C, N> sums[kSteps] = {};
  if (f.bias)
#pragma unroll
    for (int i = 0; i < kSteps; ++i) sums[i] = load_vector<C, N>(f.bias + channel);
#pragma unroll 2
  for (int64_t k = 0; k < f.width; ++k) {
    const int64_t ago = f.width - 1 - k;
    const Vec<C, N> tap = load_vector<C, N>(f.taps + k * f.channels + channel);
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const T* const from = f.in.at(f.back ? begin + i + ago : begin + i - ago);
      if (!from) continue;
      const Vec<T, N> x = load_vector<T, N>(from + column);
#pragma unroll
      for (int n = 0; n < N; ++n) sums[i].v[n] += tap.v[n] * static_cast<C>(x.v[n]);
    }
  }
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    if (begin + i >= f.out.steps) return;
    Vec<T, N> y;
#pragma unroll
    for (int n = 0; n < N; ++n) y.v[n] = static_cast<T>(sums[i].v[n]);
    store_vector(f.out.at(begin + i) + column, y);
  }
}

// sums (chunks, K + 1, C): of each chunk of rows (t, b), dy times the row that each tap meets; the bias is a
// tap that meets ones. A block sums kTaps of them.
template <int N, class T>
__global__ void __launch_bounds__(kWarp* kWarps)
    weight_sums_kernel(Compute<T>* sums, const T* dys, const TimeSteps<const T> in, int64_t width,
                       int64_t channels, int64_t batch, int64_t chunk_rows) {
  using C = Compute<T>;
  constexpr int kWidth = kWarp * N;
  __shared__ C parts[kWarps][kWidth];
  const int64_t first_channel = int64_t{blockIdx.x} * kWidth, channel = first_channel + threadIdx.x * N;
  const int64_t first_tap = int64_t{blockIdx.z} * kTaps;
  const int64_t first = blockIdx.y * chunk_rows, last = in.steps * batch,
                end = first + chunk_rows < last ? first + chunk_rows : last;
  C total[kTaps][N] = {};
  if (channel < channels)
    for (int64_t row = first + threadIdx.y; row < end; row += kWarps) {
      const int64_t t = row / batch, column = row % batch * channels + channel;
      const Vec<T, N> dy = load_vector<T, N>(dys + row * channels + channel);
#pragma unroll
      for (int i = 0; i < kTaps; ++i) {
        const int64_t k = first_tap + i;
        if (k > width) continue;
        const T* const from = k < width ? in.at(t - (width - 1 - k)) : nullptr;
        if (k < width && !from) continue;
        Vec<T, N> x;
        if (from) x = load_vector<T, N>(from + column);
#pragma unroll
        for (int n = 0; n < N; ++n)
          total[i][n] += static_cast<C>(dy.v[n]) * (from ? static_cast<C>(x.v[n]) : C(1));
      }
    }
  const int thread = static_cast<int>(threadIdx.y * kWarp + threadIdx.x);
#pragma unroll
  for (int i = 0; i < kTaps; ++i) {  // the warps' sums, in order
    if (first_tap + i > width) return;
    __syncthreads();
#pragma unroll
    for (int n = 0; n < N; ++n) parts[threadIdx.y][threadIdx.x * N + n] = total[i][n];
    __syncthreads();
    if (thread >= kWidth || first_channel + thread >= channels) continue;
    C sum = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += parts[w][thread];
    sums[(blockIdx.y * (width + 1) + first_tap + i) * channels + first_channel + thread] = sum;
  }
}

// dweight (C, K) and dbias (C), where wanted, = or += the sums (K + 1, C).
template <class C>
__global__ void __launch_bounds__(kMapThreads)
    put_kernel(C* dweight, bool add_weight, C* dbias, bool add_bias, const C* sums, int64_t width,
               int64_t channels) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i >= (width + 1) * channels) return;
  const int64_t k = i / channels, channel = i % channels;
  C* const to = k < width ? dweight : dbias;
  if (!to) return;
  C& grad = k < width ? to[channel * width + k] : to[channel];
  grad = sums[i] + ((k < width ? add_weight : add_bias) ? grad : C(0));
}

// Returns whether the 16 bytes that a thread loads are aligned and lie in one batch row.
template <class T, class... Steps>
bool takes_vectors(int64_t channels, const Steps&... steps) {
  return channels % kVector<T> == 0 && ((is_aligned(steps.first) && is_aligned(steps.prefix)) && ...);
}

template <class T>
void run(Filter<T> f, const Tensor& weight) {
  using C = Compute<T>;
  constexpr int N = kVector<T>;
  f.width = weight.size(1);
  f.channels = weight.size(0);
  const Tensor taps({f.width, f.channels}, weight.dtype(), weight.device());
  launch(taps_kernel<C>, blocks_for(taps.numel(), kMapThreads), kMapThreads, 0, compute_stream(),
         taps.data<C>(), weight.data<C>(), f.width, f.channels);
  f.taps = taps.data<C>();
  const bool vectors = takes_vectors<T>(f.channels, f.in, f.out) && is_aligned(f.bias, sizeof(Vec<C, N>));
  const int64_t channel_blocks = blocks_for(f.channels, kWarp * (vectors ? N : 1));
  const int64_t batch = f.channels > 0 ? f.out.size / f.channels : 0;
  launch(vectors ? filter_kernel<N, T> : filter_kernel<1, T>,
         dim3(static_cast<unsigned>(channel_blocks * batch),
              blocks_for(f.out.steps - f.first, int64_t{kWarps} * kSteps)),
         dim3(kWarp, kWarps), 0, compute_stream(), f, channel_blocks);
}

template <class T>
void forward(const Tensor& y, const CausalConvInputs& in) {
  const int64_t width = in.weight.size(1);
  run<T>({.out = time_steps<T>(y, Tensor(), y, width),
          .in = time_steps<const T>(in.x, in.prefix, y, width),
          .bias = data_or_null<const Compute<T>>(in.bias),
          .first = 0,
          .back = false},
         in.weight);
}

template <class T>
void backward(const CausalConvGrads& out, const Tensor& dy, const CausalConvInputs& in) {
  using C = Compute<T>;
  const int64_t width = in.weight.size(1), channels = dy.size(2), batch = dy.size(1);
  if (out.dx.defined() || out.dprefix.defined()) {
    const TimeSteps<T> to = time_steps<T>(out.dx, out.dprefix, dy, width);
    run<T>({.out = to,
            .in = time_steps<const T>(dy, Tensor(), dy, width),
            .bias = nullptr,
            .first = out.dprefix.defined() ? 1 - width : 0,
            .back = true},
           in.weight);
  }
  if (!out.dweight.grad.defined() && !out.dbias.grad.defined()) return;

  // Enough chunks to fill the device, and so few that their sums cost little. The sizes alone decide.
  const int64_t rows = dy.size(0) * batch, chunk_rows = std::max<int64_t>(64, (rows + 1023) / 1024);
  const unsigned chunks = blocks_for(rows, chunk_rows);
  const DType dtype = in.weight.dtype();
  const Tensor sums({chunks, width + 1, channels}, dtype, dy.device());
  const TimeSteps<const T> x = time_steps<const T>(in.x, in.prefix, dy, width);
  constexpr int N = kVector<T>;
  const bool vectors = takes_vectors<T>(channels, x) && is_aligned(dy.raw());
  launch(vectors ? weight_sums_kernel<N, T> : weight_sums_kernel<1, T>,
         dim3(blocks_for(channels, kWarp * (vectors ? N : 1)), chunks, blocks_for(width + 1, kTaps)),
         dim3(kWarp, kWarps), 0, compute_stream(), sums.data<C>(), dy.data<T>(), x, width, channels, batch,
         chunk_rows);
  const Tensor total({width + 1, channels}, dtype, dy.device());
  sum_axis(total, sums, {1, chunks, total.numel()}, 1.0, false);
  launch(put_kernel<C>, blocks_for(total.numel(), kMapThreads), kMapThreads, 0, compute_stream(),
         data_or_null<C>(out.dweight.grad), out.dweight.accumulate, data_or_null<C>(out.dbias.grad),
         out.dbias.accumulate, total.data<C>(), width, channels);
}

}  // namespace

void causal_conv_forward(const Tensor& y, const CausalConvInputs& in) {
  dispatch_device_float(y.dtype(), "causal_conv", [&]<class T>() { forward<T>(y, in); });
}

void causal_conv_backward(const CausalConvGrads& out, const Tensor& dy, const CausalConvInputs& in) {
  dispatch_device_float(dy.dtype(), "causal_conv", [&]<class T>() { backward<T>(out, dy, in); });
}

}  // namespace tandem::cuda
