// Philox4x32-10: random words as a pure function of a key and a counter, the same on every device.
//
// Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). There is no state and no
// order: element i of a dropout mask can be drawn alone, in forward and again in backward, by any thread.
//
// The users of counters, so that no two of them draw the same word:
//   dropout      key = seed, counter = (index of the block of four elements: two words, step, site)
//   Random       key = seed, counter = (blocks drawn so far: two words, kRandomDomain, kRandomDomain)
#pragma once
#include <cstdint>

#include "tandem/core/macros.h"

namespace tandem {

// Four words of 32 random bits. They are members and not an array, so that a vectorised loop keeps them in registers.
struct PhiloxBlock {
  uint32_t x, y, z, w;
};

inline constexpr uint32_t kRandomDomain = 0xffffffffu;  // no dropout site has this number

// Returns the block of this key and counter. The words are computed in 64 bits with the upper 32 zero, the form that
// vector units multiply: a TANDEM_SIMD loop over blocks takes about 1 ns a word with AVX-512, a third of the scalar
// time.
TANDEM_HD TANDEM_INLINE PhiloxBlock philox(uint64_t key, uint64_t counter, uint32_t counter_2,
                                           uint32_t counter_3) {
  constexpr uint64_t kLow = 0xffffffffu;
  uint64_t key_0 = key & kLow, key_1 = key >> 32;
  uint64_t x = counter & kLow, y = counter >> 32, z = counter_2, w = counter_3;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product_x = uint64_t{0xD2511F53u} * x;
    const uint64_t product_z = uint64_t{0xCD9E8D57u} * z;
    x = (product_z >> 32) ^ y ^ key_0;
    y = product_z & kLow;
    z = (product_x >> 32) ^ w ^ key_1;
    w = product_x & kLow;
    key_0 = (key_0 + 0x9E3779B9u) & kLow;
    key_1 = (key_1 + 0xBB67AE85u) & kLow;
  }
  return {static_cast<uint32_t>(x), static_cast<uint32_t>(y), static_cast<uint32_t>(z),
          static_cast<uint32_t>(w)};
}

// Returns a number uniform in [0, 1): a multiple of 2^-24, so that every value is exact in f32.
TANDEM_HD TANDEM_INLINE float uniform_float(uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

// Dropout compares integers alone, so that devices agree bit for bit: an element is kept if word >= keep_threshold(p).
// It is dropped with probability p to within 2^-32, for p in [0, 1).
TANDEM_HD TANDEM_INLINE uint32_t keep_threshold(double drop_probability) {
  const double words = drop_probability * 0x1p32 + 0.5;
  return words >= 0x1p32 ? 0xffffffffu : static_cast<uint32_t>(words);
}

}  // namespace tandem
