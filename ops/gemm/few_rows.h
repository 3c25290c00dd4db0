// Products of a few rows with a stored weight, x W^T, as generation makes them: bound by reading the weight.
//
// oneDNN is made for products that the arithmetic bounds. Here several rows of W are read side by side, each
// asked for some way ahead, and all rows of x are multiplied with what has come.
#pragma once
#include "ops/gemm/gemm.h"

namespace tandem::cpu {

// With more rows oneDNN is as fast, or faster. A byte of txl-matched on two cores of a Xeon with AMX takes,
// of what it takes with oneDNN: in f32 0.95 at 4 rows, 0.9 at 6 and 8; with packed panels 0.55 at 1, 0.65 at
// 2, 0.75 at 3, 0.95 at 4, 1.5 at 8 (tools/records/2026-11-22-cpu-speed.md).
inline constexpr int64_t kFewRows = 8;
inline constexpr int64_t kFewPanelRows = 4;

inline bool has_few_rows(const Gemm& p) {
  return p.m <= kFewRows && p.batch == 1 && !p.transpose_a && p.transpose_b && p.k > 0;
}

// gemm() of a product that has few rows, in f32.
void gemm_few_rows(float* c, const float* a, const float* b, const Gemm& p, const float* bias);

// c (m, 64) = left (m, k) times a panel of ops/gemm/pack.h; m is at most kFewPanelRows, k a multiple of 2.
// The elements of left are bf16 values, widened.
void multiply_panel(float* c, const float* left, const bf16* panel, int64_t m, int64_t k);

}  // namespace tandem::cpu
