// What a device can do at most, measured: matrix products a second, and bytes copied and read a second.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "ops/gemm/precision.h"
#include "tools/bench/timing.h"
#include "tools/run/device.h"

namespace tandem {

// Everything here is of the bench device.

// Whether it has products in this precision.
bool bench_has(MatmulPrecision precision);
// What --precision asks of the bench device: one by name, "both" f32 and bf16, "all" that it has, or, left
// out, f32 and bf16 where it has both. Error: it lacks what was asked for.
std::vector<MatmulPrecision> bench_precisions(const std::string& asked);

struct GemmPeak {
  struct Row {
    std::string shape;  // "4096 x 512 x 2048": m, n, k
    double gflops = 0;
  };
  std::vector<Row> rows;  // the best round of each shape
  double gflops = 0;      // the best of all
};

// Over squares and tall shapes, large enough that nothing but the arithmetic counts: C = A B through the
// function that operators use, on a GPU from bf16 to bf16 in that precision, else from f32 to f32. `rounds`
// of each. Shapes that would take longer than 0.5 s by the rate of smaller ones are left out. Error: there
// are no such products.
GemmPeak measure_gemm_peak(MatmulPrecision precision, int rounds);

// Bytes read and bytes written, half each, as the STREAM benchmark counts them, by a copy: on a CPU on all
// threads.
class CopyBench {
 public:
  explicit CopyBench(size_t bytes_moved);
  double round_ms() { return copy_.round_ms(); }  // of one copy
  size_t bytes_moved() const { return 2 * bytes_; }

 private:
  size_t bytes_;
  TimedWork copy_;
};

// Best of several rounds, in GB (1e9 bytes) moved a second.
double measure_copy_gbs(size_t bytes_moved, int rounds);

// Best of several rounds, in GB a second: an array of so many bytes summed up by all threads of a CPU, each
// reading several streams and asking for them ahead, as products of few rows do with a weight.
double measure_read_gbs(size_t bytes, int rounds);

// A product of 1024 x 1024 x 1024, beside which others are timed: what they would take at its rate. On a
// shared machine a peak that was measured minutes ago says little about now.
class ProductBench {
 public:
  explicit ProductBench(MatmulPrecision precision);
  double floor_ms(double flops);  // by one round

 private:
  TimedWork product_;
};

// Arrays of this many bytes, read and written together, are beyond the caches.
size_t memory_bytes();

struct Peaks {
  double f32_gflops = 0, tf32_gflops = 0, bf16_gflops = 0;  // 0: no such products on the device
  double gflops(MatmulPrecision precision) const {
    return precision == MatmulPrecision::bf16   ? bf16_gflops
           : precision == MatmulPrecision::tf32 ? tf32_gflops
                                                : f32_gflops;
  }
};
Peaks measure_peaks(int rounds);

// "412.3 GFLOP/s" of a CPU, "712.3 TFLOP/s" of a GPU.
std::string flops_text(double gflops);

}  // namespace tandem
