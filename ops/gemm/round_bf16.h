// Rows of f32 rounded to bf16, to the nearest and, halfway, to the even one, as bf16(float) does. Where the
// CPU has an instruction for it (AVX-512 BF16), that is used; like the matrix units, it takes what is smaller
// than any normal number for 0. NaN stays NaN. Internal to the CPU kernels.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace tandem::cpu {

void round_to_bf16(bf16* out, const float* x, int64_t n);

// out[i] = even[i] in the low half, odd[i] in the high one: the pairs of gemm_pack.h.
void round_pairs(uint32_t* out, const float* even, const float* odd, int64_t n);

// The same for any CPU.
void round_to_bf16_portable(bf16* out, const float* x, int64_t n);
void round_pairs_portable(uint32_t* out, const float* even, const float* odd, int64_t n);

}  // namespace tandem::cpu
