// Rounding of f32 rows to bf16: to nearest, ties to even, as bf16(float) does; NaN stays NaN. Uses the CPU's
// instruction (AVX-512 BF16) where there is one. Like the matrix units, the instruction takes subnormal
// numbers for 0. Internal to the CPU kernels.
#pragma once
#include <cstdint>

#include "tandem/core/dtype.h"

namespace tandem::cpu {

void round_to_bf16(bf16* out, const float* x, int64_t n);
// Rounds twice, to f32 first, and by no instruction: for bf16 copies of f64 weights, which only tests have.
void round_to_bf16(bf16* out, const double* x, int64_t n);

// out[i] = rounded even[i] in the low 16 bits and odd[i] in the high 16 bits: the row pairs of
// ops/gemm/pack.h.
void round_pairs(uint32_t* out, const float* even, const float* odd, int64_t n);

// The same without the instruction, for any CPU.
void round_to_bf16_portable(bf16* out, const float* x, int64_t n);
void round_pairs_portable(uint32_t* out, const float* even, const float* odd, int64_t n);

}  // namespace tandem::cpu
