// Rounding of rows to bf16, by the instruction where there is one and without it.
#include "tandem/ops/gemm/round_bf16.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tandem/core/random.h"

using namespace tandem;

namespace {

// Makes numbers of all sizes. Every other one lies halfway between two bf16 values or next to halfway.
std::vector<float> numbers(int64_t n, uint64_t seed) {
  Random random(seed);
  std::vector<float> x;
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits = static_cast<uint32_t>(random.below(uint64_t{1} << 32));
    if (i % 2 == 0) bits = (bits & 0xffff0000u) + 0x8000u - 1 + static_cast<uint32_t>(i / 2 % 3);
    const float value = __builtin_bit_cast(float, bits);
    x.push_back(std::isnormal(value) ? value : 1.0f);
  }
  return x;
}

using Round = void (*)(bf16*, const float*, int64_t);
using RoundPairs = void (*)(uint32_t*, const float*, const float*, int64_t);

}  // namespace

TEST_CASE("round_bf16: rows of any length equal bf16(float), and nothing after them is written") {
  for (const Round round : {cpu::round_to_bf16, cpu::round_to_bf16_portable})
    for (int64_t n = 0; n <= 100; ++n) {
      const std::vector<float> x = numbers(n, 1 + static_cast<uint64_t>(n));
      std::vector<bf16> y(static_cast<size_t>(n) + 1);
      y.back().bits = 0x1234;
      round(y.data(), x.data(), n);
      for (size_t i = 0; i < x.size(); ++i) CHECK(y[i].bits == bf16(x[i]).bits);
      CHECK(y.back().bits == 0x1234);
    }
}

TEST_CASE("round_bf16: pairs of any length have the even row in the low 16 bits") {
  for (const RoundPairs round : {cpu::round_pairs, cpu::round_pairs_portable})
    for (int64_t n = 0; n <= 70; ++n) {
      const std::vector<float> even = numbers(n, 1), odd = numbers(n, 2);
      std::vector<uint32_t> y(static_cast<size_t>(n) + 1);
      y.back() = 0x12345678;
      round(y.data(), even.data(), odd.data(), n);
      for (size_t i = 0; i < even.size(); ++i)
        CHECK(y[i] == (bf16(even[i]).bits | uint32_t{bf16(odd[i]).bits} << 16));
      CHECK(y.back() == 0x12345678);
    }
}

TEST_CASE(
    "round_bf16: NaN, infinity, zeros, overflow and subnormal numbers round as bf16(float) does, or to zero") {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  const float low_nan = __builtin_bit_cast(float, 0x7f800001u);  // its upper 16 bits are those of infinity
  const std::vector<float> x{nan, -nan, low_nan, infinity, -infinity, 0.0f, -0.0f, 3.4e38f, -3.4e38f, 1e-40f};
  for (const Round round : {cpu::round_to_bf16, cpu::round_to_bf16_portable}) {
    std::vector<bf16> y(x.size());
    round(y.data(), x.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < 3; ++i) CHECK(std::isnan(static_cast<float>(y[i])));
    for (size_t i = 3; i < 9; ++i) CHECK(y[i].bits == bf16(x[i]).bits);
    CHECK(std::isinf(static_cast<float>(y[7])));
    const bool zero_or_rounded = y[9].bits == 0 || y[9].bits == bf16(x[9]).bits;
    CHECK(zero_or_rounded);
  }
}
