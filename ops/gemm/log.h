// Counts of matrix products: the process's floating-point operations, and a log of every kind of product that
// ran.
#pragma once
#include <cstdint>
#include <vector>

#include "tandem/core/dtype.h"

namespace tandem {

// Floating-point operations of all products of this process so far: 2 m n k each.
struct GemmFlops {
  int64_t f32 = 0, bf16 = 0, f64 = 0;
};
GemmFlops gemm_flops();

// One kind of product and how often it ran. A batch counts as `batch` products.
struct GemmCall {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false, accumulate = false;
  DType dtype = DType::f32;  // dtype of the multiplication; bf16: f32 matrices multiplied in bf16
  bool serial = false;       // ran on one thread, by gemm_serial()
  int64_t count = 0;
};

// Records the products of the whole process while it lives, so that a benchmark can run exactly these again.
// Error: a second log while another lives.
class GemmLog {
 public:
  GemmLog();
  ~GemmLog();
  GemmLog(const GemmLog&) = delete;
  GemmLog& operator=(const GemmLog&) = delete;

  // Returns the calls, those of one kind as one with their counts added.
  std::vector<GemmCall> calls() const;
  // Returns each call by itself, in the order in which they were made.
  std::vector<GemmCall> sequence() const;
};

// Adds a product to gemm_flops() and to the current log, if there is one.
void note_gemm(const GemmCall& call);

}  // namespace tandem
