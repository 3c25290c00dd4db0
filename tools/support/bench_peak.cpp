// Peaks by running what should reach them.
#include "tools/support/bench_peak.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/array.h"
#include "core/check.h"
#include "core/parallel.h"
#include "core/random.h"

namespace tandem {
namespace {

constexpr int64_t kBlock = 1 << 16;  // bytes that a thread copies at a time

Tensor random_f32(Shape shape, uint64_t seed) {
  Tensor x(shape, DType::f32);
  Random(seed).fill_uniform(x, -1, 1);
  return x;
}

template <class F>
double best_ms(int rounds, const F& run) {
  double best = run();  // the first finds cold caches and sleeping threads, and is rarely the best
  for (int i = 0; i < rounds; ++i) best = std::min(best, run());
  return best;
}

}  // namespace

GemmBench::GemmBench(int64_t m, int64_t n, int64_t k, MatmulPrecision precision)
    : a_(random_f32({m, k}, 1)), b_(random_f32({k, n}, 2)), c_(zeros({m, n}, DType::f32)) {
  CHECK(precision == MatmulPrecision::f32 || cpu_has_bf16(),
        "benchmark: this CPU has no bf16 products; use f32");
  product_.m = m, product_.n = n, product_.k = k;
  product_.lda = k, product_.ldb = product_.ldc = n;
  product_.precision = precision;
}

double GemmBench::run_ms() const {
  return time_ms([this] { cpu::gemm(c_.data<float>(), a_.data<float>(), b_.data<float>(), product_); });
}

double GemmBench::flops() const {
  return 2.0 * static_cast<double>(product_.m) * static_cast<double>(product_.n) *
         static_cast<double>(product_.k);
}

std::string GemmBench::name() const {
  return fmt::format("{} x {} x {}", product_.m, product_.n, product_.k);
}

GemmPeak measure_gemm_peak(MatmulPrecision precision, int rounds) {
  constexpr std::array<std::array<int64_t, 3>, 5> kShapes = {
      {{1024, 1024, 1024}, {2048, 2048, 2048}, {8192, 512, 512}, {4096, 2048, 512}, {4096, 512, 2048}}};
  GemmPeak peak;
  for (const auto& [m, n, k] : kShapes) {
    const GemmBench bench(m, n, k, precision);
    const double gflops = bench.flops() / best_ms(rounds, [&bench] { return bench.run_ms(); }) / 1e6;
    peak.rows.push_back({bench.name(), gflops});
    peak.gflops = std::max(peak.gflops, gflops);
  }
  return peak;
}

CopyBench::CopyBench(size_t bytes_moved)
    : to_(zeros({static_cast<int64_t>(std::max<size_t>(bytes_moved / 2, 1))}, DType::u8)),
      from_(full(to_.shape(), 1, DType::u8)) {}

double CopyBench::run_ms() const {
  const int64_t bytes = to_.numel(), blocks = (bytes + kBlock - 1) / kBlock;
  uint8_t* to = to_.data<uint8_t>();
  const uint8_t* from = from_.data<uint8_t>();
  return time_ms([to, from, bytes, blocks] {
#pragma omp parallel for schedule(static) if (bytes > 4 * kParallelGrain)
    for (int64_t i = 0; i < blocks; ++i)
      std::memcpy(to + i * kBlock, from + i * kBlock,
                  static_cast<size_t>(std::min(kBlock, bytes - i * kBlock)));
  });
}

double measure_copy_gbs(size_t bytes_moved, int rounds) {
  const CopyBench bench(bytes_moved);
  return static_cast<double>(bench.bytes_moved()) / best_ms(rounds, [&bench] { return bench.run_ms(); }) /
         1e6;
}

Peaks measure_peaks(int rounds) {
  Peaks peaks;
  peaks.f32_gflops = measure_gemm_peak(MatmulPrecision::f32, rounds).gflops;
  if (cpu_has_bf16()) peaks.bf16_gflops = measure_gemm_peak(MatmulPrecision::bf16, rounds).gflops;
  return peaks;
}

}  // namespace tandem
