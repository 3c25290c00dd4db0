// Products of a few rows with a stored weight, x W^T, as in generation: their time is that of reading the
// weight.
//
// oneDNN is made for products whose time is in the arithmetic. Here several rows of W are read at once, each
// prefetched well ahead, and every element that has arrived is multiplied with all rows of x.
#pragma once
#include "tandem/ops/gemm/gemm.h"

namespace tandem::cpu {

// Largest numbers of rows for which these loops are used. Time per byte that txl-matched generates, as a
// fraction of the time with oneDNN, on two cores of a Xeon with AMX (tools/records/2026-11-22-cpu-speed.md):
//   rows             1      2      3      4      6      8
//   f32                                   0.95   0.9    0.9
//   packed panels    0.55   0.65   0.75   0.95          1.5
inline constexpr int64_t kFewRows = 8;
inline constexpr int64_t kFewPanelRows = 4;

inline bool has_few_rows(const Gemm& p) {
  return p.m <= kFewRows && p.batch == 1 && !p.transpose_a && p.transpose_b && p.k > 0;
}

// Computes a product for which has_few_rows() is true, in f32.
void gemm_few_rows(float* c, const float* a, const float* b, const Gemm& p, const float* bias);

// c (m, 64) = left (m, k) times one panel of ops/gemm/pack.h. m is at most kFewPanelRows, k a multiple of 2,
// and the elements of left are bf16 values stored as f32.
void multiply_panel(float* c, const float* left, const bf16* panel, int64_t m, int64_t k);

}  // namespace tandem::cpu
