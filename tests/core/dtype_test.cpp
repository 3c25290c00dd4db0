// Element types: sizes, names, and bf16 rounding against an independent reference.
#include "tandem/core/dtype.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

using namespace tandem;

namespace {

// Returns the nearest multiple of the bf16 spacing at x, ties to the even multiple, by arithmetic in double.
double nearest_bf16(float x) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int exponent = std::max(std::ilogb(x), -126);    // -126: the spacing stops shrinking below
  const double spacing = std::ldexp(1.0, exponent - 7);  // 8 significant bits
  const double rounded = std::nearbyint(x / spacing) * spacing;
  constexpr double kLargest = 0x1.FEp127;
  return std::abs(rounded) > kLargest ? std::copysign(INFINITY, x) : rounded;
}

}  // namespace

TEST_CASE("dtype: sizes, names, kinds") {
  CHECK(size_of(DType::f32) == 4);
  CHECK(size_of(DType::f64) == 8);
  CHECK(size_of(DType::bf16) == 2);
  CHECK(size_of(DType::i32) == 4);
  CHECK(size_of(DType::i64) == 8);
  CHECK(size_of(DType::u8) == 1);
  CHECK(sizeof(bf16) == 2);
  CHECK(name_of(DType::f32) == "f32");
  CHECK(name_of(DType::f64) == "f64");
  CHECK(name_of(DType::bf16) == "bf16");
  CHECK(name_of(DType::i32) == "i32");
  CHECK(name_of(DType::i64) == "i64");
  CHECK(name_of(DType::u8) == "u8");
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) CHECK(is_floating(dtype));
  for (DType dtype : {DType::i32, DType::i64, DType::u8}) CHECK_FALSE(is_floating(dtype));
  CHECK(dtype_of<float>() == DType::f32);
  CHECK(dtype_of<double>() == DType::f64);
  CHECK(dtype_of<bf16>() == DType::bf16);
  CHECK(dtype_of<int32_t>() == DType::i32);
  CHECK(dtype_of<int64_t>() == DType::i64);
  CHECK(dtype_of<uint8_t>() == DType::u8);
}

TEST_CASE("bf16: every value survives the conversion to f32 and back") {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    bf16 value;
    value.bits = static_cast<uint16_t>(bits);
    const float wide = value;
    const bf16 back(wide);
    wrong += std::isnan(wide) ? !std::isnan(static_cast<float>(back)) : back.bits != bits;
  }
  CHECK(wrong == 0);
}

TEST_CASE("bf16: rounds to nearest, ties to even") {
  CHECK(bf16(1.0f).bits == 0x3f80);
  CHECK(bf16(1 + 0x1p-8f).bits == 0x3f80);             // a tie, down to even
  CHECK(bf16(1 + 0x1p-8f + 0x1p-23f).bits == 0x3f81);  // just above the tie
  CHECK(bf16(1 + 0x3p-8f).bits == 0x3f82);             // a tie, up to even
  CHECK(bf16(1 + 0x3p-8f - 0x1p-23f).bits == 0x3f81);
  CHECK(bf16(-(1 + 0x3p-8f)).bits == 0xbf82);
  CHECK(bf16(0.0f).bits == 0);
  CHECK(bf16(-0.0f).bits == 0x8000);
  CHECK(bf16(0x1.FFp0f).bits == 0x4000);  // the carry reaches the exponent
}

TEST_CASE("bf16: it rounds overflow, infinity, NaN and subnormals") {
  const float largest = std::numeric_limits<float>::max();
  CHECK(bf16(largest).bits == 0x7f80);
  CHECK(bf16(-largest).bits == 0xff80);
  CHECK(bf16(0x1.FEp127f).bits == 0x7f7f);                        // the largest bf16
  CHECK(bf16(std::nextafter(0x1.FFp127f, 0.0f)).bits == 0x7f7f);  // just below the last tie
  CHECK(bf16(0x1.FFp127f).bits == 0x7f80);
  CHECK(bf16(INFINITY).bits == 0x7f80);
  CHECK(bf16(-INFINITY).bits == 0xff80);
  // A NaN whose bits lie only in the lower 16 must become neither infinity nor, by overflow, a number.
  for (uint32_t bits : {0x7f800001u, 0x7fffffffu, 0xff800001u, 0xffffffffu, 0x7fc00000u}) {
    const bf16 value(std::bit_cast<float>(bits));
    CHECK(std::isnan(static_cast<float>(value)));
    CHECK((value.bits >> 15) == (bits >> 31));
  }
  CHECK(bf16(0x1p-133f).bits == 1);  // the smallest subnormal
  CHECK(bf16(0x1p-134f).bits == 0);  // half of it: a tie to even
  CHECK(bf16(0x1.8p-134f).bits == 1);
}

TEST_CASE("bf16: rounding agrees with arithmetic on random bits") {
  std::mt19937 random(1);
  int wrong = 0;
  for (int i = 0; i < 200000; ++i) {
    // Every other number lies on or next to a tie, where mistakes in rounding show.
    uint32_t bits = random();
    if (i % 2 == 1) bits = (bits & 0xffff0000u) | (0x7fffu + bits % 3);
    const float x = std::bit_cast<float>(bits);
    if (!std::isnan(x)) wrong += static_cast<float>(bf16(x)) != nearest_bf16(x);
  }
  CHECK(wrong == 0);
}
