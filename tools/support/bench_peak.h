// What this machine can do at most, measured: matrix products a second, and bytes copied a second.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "ops/gemm.h"
#include "tools/support/bench_timing.h"
#include "tools/support/device.h"

namespace tandem {

// f32 operands of one kind of product, and running it: C = A B through cpu::gemm on all threads.
class GemmBench {
 public:
  GemmBench(int64_t m, int64_t n, int64_t k, MatmulPrecision precision);
  double run_ms() const;
  double flops() const;
  std::string name() const;  // "4096 x 512 x 2048": m, n, k

 private:
  Gemm product_;
  Tensor a_, b_, c_;
};

struct GemmPeak {
  struct Row {
    std::string shape;
    double gflops = 0;
  };
  std::vector<Row> rows;  // the best run of each shape
  double gflops = 0;      // the best of all
};

// Over squares and tall shapes, large enough that nothing but the arithmetic counts. `rounds` runs of each.
// Error: bf16 where the CPU has no bf16 products.
GemmPeak measure_gemm_peak(MatmulPrecision precision, int rounds);

// Bytes read and bytes written, half each, by a copy on all threads, as the STREAM benchmark counts them.
class CopyBench {
 public:
  explicit CopyBench(size_t bytes_moved);
  double run_ms() const;
  size_t bytes_moved() const { return 2 * to_.nbytes(); }

 private:
  Tensor to_, from_;
};

// Best of several runs, in GB (1e9 bytes) moved a second.
double measure_copy_gbs(size_t bytes_moved, int rounds);

// Arrays of this many bytes, read and written together, are beyond the caches of a core.
inline constexpr size_t kMemoryBytes = size_t{256} << 20;

struct Peaks {
  double f32_gflops = 0;
  double bf16_gflops = 0;  // 0: no bf16 products on this CPU
  double gflops(MatmulPrecision precision) const {
    return precision == MatmulPrecision::bf16 ? bf16_gflops : f32_gflops;
  }
};
Peaks measure_peaks(int rounds);

}  // namespace tandem
