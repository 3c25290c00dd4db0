// Products of f32 activations with a weight that was rounded to bf16 and packed once, for generation: packing
// it again for every token costs many times the product.
#pragma once
#include <cstdint>

#include "core/tensor.h"
#include "ops/gemm/gemm.h"

namespace tandem {

struct Bf16Weight {
  // weight: f32 (out, in) on the CPU. Error: another dtype, rank or device.
  explicit Bf16Weight(const Tensor& weight);

  int64_t out, in;
  Tensor packed;  // in panels of 64 rows (ops/gemm/pack.h): two bytes an element
};

namespace cpu {

inline constexpr int64_t kMostKeptRows = 256;  // with more, packing is no longer what takes the time

// gemm() in bf16 of a stored weight (out, in), transposed, by its packed form: C (m, out) = A (m, in) W' +
// bias, or += with p.accumulate; lda and ldc as there, no batch, m up to kMostKeptRows.
void gemm_bf16_weight(float* c, const float* a, const Gemm& p, const Bf16Weight& weight,
                      const float* bias = nullptr);
// The same with a result that is rounded to bf16 and overwritten.
void gemm_bf16_weight(bf16* c, const float* a, const Gemm& p, const Bf16Weight& weight);

}  // namespace cpu
}  // namespace tandem
