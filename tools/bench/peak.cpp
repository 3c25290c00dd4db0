// Peaks, measured by running what should reach them.
#include "tools/bench/peak.h"

#include <algorithm>
#include <cstring>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"
#include "tandem/core/random.h"
#include "tandem/ops/matmul.h"

namespace tandem {
namespace {

constexpr int64_t kBlock = 1 << 16;  // bytes that a thread copies at a time
constexpr double kLongestMs = 500;

struct GemmShape {
  int64_t m, n, k;
  double flops() const {
    return 2 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  }
};

// How fast a simulated GPU is means nothing, so it is given little to do.
#ifdef TANDEM_CUDA_SIMULATED
constexpr bool kSimulated = true;
#else
constexpr bool kSimulated = false;
#endif

GemmShape beside() {
  return kSimulated && bench_device().is_cuda() ? GemmShape{64, 64, 64} : GemmShape{1024, 1024, 1024};
}

// Returns the shapes whose rate is tried, from small to large.
std::vector<GemmShape> gemm_shapes() {
  if (bench_device().is_cpu())
    return {{1024, 1024, 1024}, {8192, 512, 512}, {4096, 2048, 512}, {4096, 512, 2048}, {2048, 2048, 2048}};
  if (kSimulated) return {beside()};
  // Squares, and the products of W_q and W_o in `txl-matched` (24 x 512 tokens) and `base` (32 x 1024
  // tokens).
  return {{1024, 1024, 1024}, {12288, 480, 1920}, {12288, 5760, 480}, {4096, 4096, 4096},
          {32768, 768, 3072}, {32768, 9216, 768}, {8192, 8192, 8192}};
}

TimedWork gemm_work(const GemmShape& s, MatmulPrecision precision) {
  const Device device = bench_device();
  const bool bf16 = device.is_cuda() && precision == MatmulPrecision::bf16;
  const DType dtype = bf16 ? DType::bf16 : DType::f32;
  const Tensor a({s.m, s.k}, dtype, device), b({s.k, s.n}, dtype, device), c({s.m, s.n}, dtype, device);
  Random(1).fill_uniform(a, -1, 1);
  Random(2).fill_uniform(b, -1, 1);
  MatmulKernel kernel;
  kernel.precision = precision;
  return TimedWork([a, b, c, kernel] { TANDEM_DISPATCH(c.device(), matmul(c, a, b, kernel)); });
}

void copy_on_cpu(const Tensor& y, const Tensor& x) {
  const int64_t bytes = y.numel(), blocks = (bytes + kBlock - 1) / kBlock;
  uint8_t* to = y.data<uint8_t>();
  const uint8_t* from = x.data<uint8_t>();
  cpu::parallel_for(blocks, bytes > 4 * kParallelGrain, [=](int64_t i) {
    std::memcpy(to + i * kBlock, from + i * kBlock,
                static_cast<size_t>(std::min(kBlock, bytes - i * kBlock)));
  });
}

constexpr int kStreams = 8;
constexpr int64_t kWordsAhead = 256;

// Returns the sum of kStreams adjacent runs of n words, read side by side.
TANDEM_SIMD uint64_t sum_of_streams(const uint64_t* x, int64_t n) {
  constexpr int64_t kLine = 8;
  uint64_t sums[kStreams][kLine] = {};
  for (int64_t i = 0; i + kLine <= n; i += kLine) {
#pragma GCC unroll 8
    for (int s = 0; s < kStreams; ++s) {
      const uint64_t* at = x + s * n + i;
      __builtin_prefetch(at + kWordsAhead);
#pragma omp simd
      for (int64_t j = 0; j < kLine; ++j) sums[s][j] += at[j];
    }
  }
  uint64_t sum = 0;
  for (const auto& stream : sums)
    for (const uint64_t part : stream) sum += part;
  return sum;
}

void sum_on_cpu(const Tensor& sums, const Tensor& x) {
  const int64_t blocks = sums.numel(), n = x.numel() / blocks / kStreams;
  const auto* words = x.data<int64_t>();
  int64_t* to = sums.data<int64_t>();
  cpu::parallel_for(blocks, true, [=](int64_t i) {
    to[i] =
        static_cast<int64_t>(sum_of_streams(reinterpret_cast<const uint64_t*>(words) + i * n * kStreams, n));
  });
}

TimedWork copy_work(int64_t bytes) {
  const Device device = bench_device();
  const Tensor to = zeros({bytes}, DType::u8, device), from = full({bytes}, 1, DType::u8, device);
  return TimedWork([to, from] { to.device().is_cpu() ? copy_on_cpu(to, from) : copy(to, from); });
}

double best_ms(int rounds, TimedWork& work) {
  double best = work.round_ms();  // the first round, with cold caches and idle threads, is rarely the best
  for (int i = 0; i < rounds; ++i) best = std::min(best, work.round_ms());
  return best;
}

}  // namespace

bool bench_has(MatmulPrecision precision) {
  if (precision == MatmulPrecision::f32 || bench_device().is_cuda()) return true;
  return precision == MatmulPrecision::bf16 && cpu_has_bf16();
}

std::vector<MatmulPrecision> bench_precisions(const std::string& asked) {
  if (!asked.empty() && asked != "both" && asked != "all")
    return {precision_named(resolve_precision(asked, bench_device()))};
  TANDEM_CHECK(asked != "both" || bench_has(MatmulPrecision::bf16),
               "--precision=both: this CPU has no bf16 products; use --precision=f32");
  std::vector<MatmulPrecision> precisions{MatmulPrecision::f32};
  if (asked == "all" && bench_has(MatmulPrecision::tf32)) precisions.push_back(MatmulPrecision::tf32);
  if (bench_has(MatmulPrecision::bf16)) precisions.push_back(MatmulPrecision::bf16);
  return precisions;
}

GemmPeak measure_gemm_peak(MatmulPrecision precision, int rounds) {
  TANDEM_CHECK(bench_has(precision), "benchmark: no {} products on this {}; use f32", name_of(precision),
               bench_device().is_cpu() ? "CPU" : "GPU");
  GemmPeak peak;
  for (const GemmShape& shape : gemm_shapes()) {
    if (peak.gflops > 0 && shape.flops() / peak.gflops / 1e6 > kLongestMs) continue;
    TimedWork work = gemm_work(shape, precision);
    const double gflops = shape.flops() / best_ms(rounds, work) / 1e6;
    peak.rows.push_back({fmt::format("{} x {} x {}", shape.m, shape.n, shape.k), gflops});
    peak.gflops = std::max(peak.gflops, gflops);
  }
  return peak;
}

CopyBench::CopyBench(size_t bytes_moved)
    : bytes_(std::max<size_t>(bytes_moved / 2, 1)), copy_(copy_work(static_cast<int64_t>(bytes_))) {}

double measure_copy_gbs(size_t bytes_moved, int rounds) {
  CopyBench bench(bytes_moved);
  double best = bench.round_ms();
  for (int i = 0; i < rounds; ++i) best = std::min(best, bench.round_ms());
  return static_cast<double>(bench.bytes_moved()) / best / 1e6;
}

double measure_read_gbs(size_t bytes, int rounds) {
  constexpr int64_t kBlocks = 64;
  const int64_t words = static_cast<int64_t>(bytes) / 8 / (kBlocks * kStreams * 8) * (kBlocks * kStreams * 8);
  const Tensor x = full({words}, 1, DType::i64), sums({kBlocks}, DType::i64);
  TimedWork work([x, sums] { sum_on_cpu(sums, x); });
  const double ms = best_ms(rounds, work);
  int64_t total = 0;
  for (const int64_t sum : sums.span<int64_t>()) total += sum;
  TANDEM_CHECK(total == words, "benchmark: {} words of 1 add up to {}", words, total);
  return 8 * static_cast<double>(words) / ms / 1e6;
}

ProductBench::ProductBench(MatmulPrecision precision) : product_(gemm_work(beside(), precision)) {}

double ProductBench::floor_ms(double flops) {
  return flops * product_.round_ms() / beside().flops();
}

size_t memory_bytes() {
  if (bench_device().is_cpu()) return size_t{256} << 20;
  return kSimulated ? size_t{1} << 18 : size_t{1} << 30;
}

Peaks measure_peaks(int rounds) {
  const auto peak_of = [rounds](MatmulPrecision precision) {
    return bench_has(precision) ? measure_gemm_peak(precision, rounds).gflops : 0;
  };
  return {peak_of(MatmulPrecision::f32), peak_of(MatmulPrecision::tf32), peak_of(MatmulPrecision::bf16)};
}

std::string flops_text(double gflops) {
  return bench_device().is_cpu() ? fmt::format("{:.1f} GFLOP/s", gflops)
                                 : fmt::format("{:.1f} TFLOP/s", gflops / 1e3);
}

}  // namespace tandem
