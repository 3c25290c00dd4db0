// Products of f32 activations with a weight that was rounded to bf16 and packed once. Generation uses them:
// packing a weight again for every token costs many times the product.
#pragma once
#include <cstdint>

#include "tandem/core/tensor.h"
#include "tandem/ops/gemm/gemm.h"

namespace tandem {

struct Bf16Weight {
  // weight: f32 (out, in) on the CPU. Error: another dtype, rank or device.
  explicit Bf16Weight(const Tensor& weight);

  int64_t out, in;
  Tensor packed;  // bf16, in panels of 64 rows of the weight (ops/gemm/pack.h)
};

namespace cpu {

// Most rows of A for which a kept packed weight is used; with more, packing is a small part of the product.
inline constexpr int64_t kMostKeptRows = 256;

// Computes C (m, out) = A (m, in) W^T + bias, or C += with p.accumulate, in bf16 as gemm() does, from the
// packed form of W. p has transpose_b, its own lda and ldc, and no batch. Error: sizes that do not fit the
// weight, m above kMostKeptRows.
void gemm_bf16_weight(float* c, const float* a, const Gemm& p, const Bf16Weight& weight,
                      const float* bias = nullptr);
// The same with the result rounded to bf16. Error: also p.accumulate.
void gemm_bf16_weight(bf16* c, const float* a, const Gemm& p, const Bf16Weight& weight);

}  // namespace cpu
}  // namespace tandem
