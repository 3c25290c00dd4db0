// Rounds by shifts and additions, or by the instruction.
#include "tandem/ops/gemm/round_bf16.h"
#include "tandem/core/macros.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tandem::cpu {
namespace {

TANDEM_INLINE uint32_t rounded(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const uint32_t nearest = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return (bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : nearest;
}

TANDEM_SIMD void round_clones(uint16_t* out, const float* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<uint16_t>(rounded(x[i]));
}

TANDEM_SIMD void round_pairs_clones(uint32_t* out, const float* even, const float* odd, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = rounded(even[i]) | rounded(odd[i]) << 16;
}

#if defined(__x86_64__)

#define TANDEM_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

constexpr int64_t kLanes = 16;

bool has_instruction() {
  static const bool has = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl");
  return has;
}

TANDEM_AVX512_BF16 inline __mmask16 first_lanes(int64_t n) {
  return static_cast<__mmask16>(n >= kLanes ? 0xffff : n <= 0 ? 0 : (1 << n) - 1);
}

TANDEM_AVX512_BF16 void round_by_instruction(bf16* out, const float* x, int64_t n) {
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + kLanes), _mm512_loadu_ps(x + i));
    _mm512_storeu_si512(out + i, (__m512i)both);
  }
  if (i == n) return;
  const __m512 low = _mm512_maskz_loadu_ps(first_lanes(n - i), x + i);
  const __m512 high = _mm512_maskz_loadu_ps(first_lanes(n - i - kLanes), x + i + kLanes);
  const auto rest = static_cast<__mmask32>((uint32_t{1} << (n - i)) - 1);
  _mm512_mask_storeu_epi16(out + i, rest, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

// Returns 32-bit words with the bf16 values of `low` in the low 16 bits and those of `high` in the high 16
// bits.
TANDEM_AVX512_BF16 inline __m512i pairs(__m512 low, __m512 high) {
  const __m512i word = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i order =
      _mm512_or_si512(word, _mm512_slli_epi32(_mm512_add_epi32(word, _mm512_set1_epi32(16)), 16));
  return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

TANDEM_AVX512_BF16 void round_pairs_by_instruction(uint32_t* out, const float* even, const float* odd,
                                                   int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    _mm512_storeu_si512(out + i, pairs(_mm512_loadu_ps(even + i), _mm512_loadu_ps(odd + i)));
  if (i == n) return;
  const __mmask16 rest = first_lanes(n - i);
  _mm512_mask_storeu_epi32(
      out + i, rest, pairs(_mm512_maskz_loadu_ps(rest, even + i), _mm512_maskz_loadu_ps(rest, odd + i)));
}

#else

constexpr bool has_instruction() {
  return false;
}
void round_by_instruction(bf16*, const float*, int64_t) {}
void round_pairs_by_instruction(uint32_t*, const float*, const float*, int64_t) {}

#endif

}  // namespace

void round_to_bf16(bf16* out, const float* x, int64_t n) {
  has_instruction() ? round_by_instruction(out, x, n) : round_to_bf16_portable(out, x, n);
}

void round_to_bf16(bf16* out, const double* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = bf16(static_cast<float>(x[i]));
}

void round_pairs(uint32_t* out, const float* even, const float* odd, int64_t n) {
  has_instruction() ? round_pairs_by_instruction(out, even, odd, n) : round_pairs_portable(out, even, odd, n);
}

void round_to_bf16_portable(bf16* out, const float* x, int64_t n) {
  round_clones(reinterpret_cast<uint16_t*>(out), x, n);
}

void round_pairs_portable(uint32_t* out, const float* even, const float* odd, int64_t n) {
  round_pairs_clones(out, even, odd, n);
}

}  // namespace tandem::cpu
