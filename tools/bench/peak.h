// Measured peaks of the bench device: matrix products, copies and reads per second.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/gemm/precision.h"
#include "tandem/tools/run/device.h"
#include "tools/bench/timing.h"

namespace tandem {

// Returns whether the bench device has matrix products in this precision.
bool bench_has(MatmulPrecision precision);
// Returns the precisions for the value of --precision: a name; "both": f32 and bf16; "all": all that the
// device has; empty: f32, and bf16 if the device has it. Error: the device lacks what was asked for.
std::vector<MatmulPrecision> bench_precisions(const std::string& asked);

struct GemmPeak {
  struct Row {
    std::string shape;  // "4096 x 512 x 2048": m, n, k
    double gflops = 0;
  };
  std::vector<Row> rows;  // the best round of each shape
  double gflops = 0;      // the best of all
};

// Measures C = A B through the function that operators use, `rounds` times for each of several square and
// tall shapes, large enough that only the arithmetic counts. Operands are bf16 on a GPU in that precision,
// else f32. Shapes that would take longer than 0.5 s at the rate of the smaller ones are left out. Error: the
// device has no such products.
GemmPeak measure_gemm_peak(MatmulPrecision precision, int rounds);

// A copy, on all threads of a CPU or by the driver of a GPU. Half of the bytes moved are read and half are
// written, as the STREAM benchmark counts them.
class CopyBench {
 public:
  explicit CopyBench(size_t bytes_moved);
  double round_ms() { return copy_.round_ms(); }  // time of one copy
  size_t bytes_moved() const { return 2 * bytes_; }

 private:
  size_t bytes_;
  TimedWork copy_;
};

// Returns the best rate of several rounds, in GB (1e9 bytes) moved per second.
double measure_copy_gbs(size_t bytes_moved, int rounds);

// Returns the best rate of several rounds in GB/s at which all threads of a CPU sum an array of this size.
// Each thread reads several streams with prefetches, as products of few rows read a weight.
double measure_read_gbs(size_t bytes, int rounds);

// A product of 1024 x 1024 x 1024 that is timed beside other work, as the measure of it: on a shared machine,
// a peak that was measured minutes ago says little about the speed now.
class ProductBench {
 public:
  explicit ProductBench(MatmulPrecision precision);
  double floor_ms(double flops);  // runs a round; returns the time of `flops` operations at its rate

 private:
  TimedWork product_;
};

// Returns a number of bytes, read and written together, that exceeds the caches.
size_t memory_bytes();

struct Peaks {
  double f32_gflops = 0, tf32_gflops = 0, bf16_gflops = 0;  // 0: the device has no such products
  double gflops(MatmulPrecision precision) const {
    return precision == MatmulPrecision::bf16   ? bf16_gflops
           : precision == MatmulPrecision::tf32 ? tf32_gflops
                                                : f32_gflops;
  }
};
Peaks measure_peaks(int rounds);

// Returns "412.3 GFLOP/s" on a CPU, "712.3 TFLOP/s" on a GPU.
std::string flops_text(double gflops);

}  // namespace tandem
