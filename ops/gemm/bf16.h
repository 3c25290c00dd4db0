// Products of f32 matrices multiplied in bf16, and of operands that are stored in bf16. Internal to gemm().
#pragma once
#include "tandem/ops/gemm/gemm.h"

namespace tandem::cpu {

// C = op(A) op(B) + beta C with operands rounded to bf16, each packed close to where it is multiplied; `bias`
// as in gemm(). Requires k > 0 and, for onednn_multiply_packed(), a CPU with bf16 instructions.
void gemm_bf16(float* c, const float* a, const float* b, const Gemm& p, const float* bias);
// The same with the result rounded to bf16. Requires !p.accumulate and rows of C without gaps.
void gemm_bf16(bf16* c, const float* a, const float* b, const Gemm& p);
// The same with one operand stored in bf16. B may be so in A^T B only.
void gemm_bf16(float* c, const bf16* a, const float* b, const Gemm& p);
void gemm_bf16(float* c, const float* a, const bf16* b, const Gemm& p);

}  // namespace tandem::cpu
