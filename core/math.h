// Elementary functions that vectorise: plain arithmetic on f32, so that a loop over them becomes SIMD in any
// compiler; the f64 versions call the C library. Errors are given in units in the last place (ulp) of the result and
// hold over the whole range. (__builtin_bit_cast, because g++ does not inline std::bit_cast into SIMD clones.)
#pragma once
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "tandem/core/macros.h"

namespace tandem {

// Returns the smallest multiple of `multiple` that is not below n, for integers n >= 0.
template <class T>
TANDEM_HD constexpr T round_up(T n, std::type_identity_t<T> multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Returns P(r) in e^r = 1 + r + r^2 P(r), for |r| <= ln 2 / 2.
TANDEM_HD TANDEM_INLINE float exp_series(float r) {
  float p = 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  return p * r + 5.0000001201e-1f;
}

// e^x within 3 ulp; 0 below -87.34 (no denormals), infinity above 88.72, NaN for NaN.
TANDEM_HD TANDEM_INLINE float fast_exp(float x) {
#ifdef __CUDA_ARCH__
  return __expf(x);  // the GPU's instruction, within 2 + |1.2 x| ulp
#else
  // x = n ln 2 + r with |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to the integer n and leaves it in the low bits.
  constexpr float kRound = 12582912.0f;
  const float shifted = x * 1.44269504088896341f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693145751953125f) - n * 1.42860682030941723212e-6f;
  const float p = exp_series(r) * r * r + r + 1.0f;
  // Multiply by 2^n in two steps, because 2^128 is not an f32.
  const uint32_t exponent = __builtin_bit_cast(uint32_t, shifted) - __builtin_bit_cast(uint32_t, kRound);
  const uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(exponent) >> 1);
  const float y = p * __builtin_bit_cast(float, (half + 127) << 23) *
                  __builtin_bit_cast(float, (exponent - half + 127) << 23);
  const float low = x < -87.33654f ? 0.0f : y;
  const float high = x > 88.72283f ? HUGE_VALF : low;
  return x == x ? high : x;
#endif
}
TANDEM_HD TANDEM_INLINE double fast_exp(double x) {
  return std::exp(x);
}

// 1 / (1 + e^-x) within 4 ulp; 0 below -88.38, NaN for NaN. y = -x is clamped to a range in which n is at most 128, the
// exponent of infinity; that saves fast_exp's range checks, a third of the instructions.
TANDEM_HD TANDEM_INLINE float sigmoid(float x) {
#ifdef __CUDA_ARCH__
  // Denormals are flushed to 0 (ftz), which saves a test between the four instructions and does not change 1 + e^-x.
  // If e^-x is infinite, the result is 0, as it must be.
  float e, y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(-1.44269504088896341f * x));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(1.0f + e));
  return y;
#else
  // The exponent's bias is part of the rounding constant, so that one shift makes 2^n.
  constexpr float kRound = 12582912.0f + 127.0f;
  const float above = x < -88.8f ? -88.8f : x;
  const float y = -(above > 87.0f ? 87.0f : above);
  const float shifted = y * 1.44269504088896341f + kRound;
  const float n = shifted - kRound;
  const float r = (y - n * 0.693145751953125f) - n * 1.42860682030941723212e-6f;
  const float p = exp_series(r) * (r * r) + r + 1.0f;
  return 1.0f / (1.0f + p * __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, shifted) << 23));
#endif
}
TANDEM_HD TANDEM_INLINE double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}

// tanh(x) within 7 ulp. Near 0, where 1 - 2 / (e^2x + 1) would cancel, it uses the odd power series.
TANDEM_HD TANDEM_INLINE float fast_tanh(float x) {
  const float x2 = x * x;
  const float series =
      x + x * x2 *
              (-1.0f / 3 +
               x2 * (2.0f / 15 + x2 * (-17.0f / 315 + x2 * (62.0f / 2835 - x2 * (1382.0f / 155925)))));
  const float quotient = 1.0f - 2.0f / (fast_exp(2.0f * x) + 1.0f);
  return x2 < 0.09f ? series : quotient;
}
TANDEM_HD TANDEM_INLINE double fast_tanh(double x) {
  return std::tanh(x);
}

}  // namespace tandem
