// Whole-array primitives: fill, copy between all dtypes, add, find non-finite.
#include "tandem/core/array.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/core/random.h"

using namespace tandem;

namespace {

constexpr DType kAll[] = {DType::f32, DType::f64, DType::bf16, DType::i32, DType::i64, DType::u8};

std::vector<double> values_of(const Tensor& x) {
  return x.to(DType::f64).to_vector<double>();
}

}  // namespace

TEST_CASE("array: fill every dtype, views included") {
  for (DType dtype : kAll) {
    CAPTURE(std::string(name_of(dtype)));
    const Tensor x = zeros({4, 5}, dtype);
    fill(x.view_rows(1, 3), 3);
    std::vector<double> expected(20, 0);
    for (int i = 5; i < 15; ++i) expected[i] = 3;
    CHECK(values_of(x) == expected);
    fill(x.view_rows(2, 4), 0);
    for (int i = 10; i < 20; ++i) expected[i] = 0;
    CHECK(values_of(x) == expected);
    fill(x.view_rows(0, 0), 9);
    CHECK(values_of(x) == expected);
  }
}

TEST_CASE("array: fill keeps fractions, signs and infinity") {
  CHECK(full({3}, -0.1, DType::f64).to_vector<double>() == std::vector<double>(3, -0.1));
  CHECK(full({1}, -0.1, DType::f32).to_vector<float>()[0] == -0.1f);
  CHECK(full({1}, -INFINITY, DType::f32).item() == -INFINITY);
  CHECK(full({1}, -INFINITY, DType::bf16).item() == -INFINITY);
  CHECK(std::isnan(full({1}, NAN, DType::f64).item()));
  CHECK(full({1}, -5, DType::i64).to_vector<int64_t>()[0] == -5);
}

TEST_CASE("array: copy converts between every pair of dtypes") {
  const std::vector<double> values{0, 1, 2, 100, 127, 128, 200, 255};  // exact in all six
  for (DType from : kAll) {
    const Tensor x = tensor_of<double>({2, 4}, values).to(from);
    CHECK(x.dtype() == from);
    for (DType to : kAll) {
      CAPTURE(x.summary());
      CAPTURE(std::string(name_of(to)));
      const Tensor y = full({2, 4}, 77, to);
      copy(y, x);
      CHECK(values_of(y) == values);
    }
  }
}

TEST_CASE("array: a large conversion gives every element the bits that it has alone") {
  Random random(1);
  const Tensor bits({(1 << 16) + 37}, DType::i32), x(bits.shape(), DType::f32);
  for (int32_t& word : bits.span<int32_t>()) word = static_cast<int32_t>(random.below(uint64_t{1} << 32));
  std::memcpy(x.raw(), bits.raw(), x.nbytes());  // floats of every kind, NaN and subnormal included
  const Tensor y = x.to(DType::bf16);
  for (int64_t i = 0; i < x.numel(); ++i) REQUIRE(y.data<bf16>()[i].bits == bf16(x.data<float>()[i]).bits);
}

TEST_CASE("array: conversions to floats round to nearest, to integers cut towards zero") {
  const Tensor x = tensor_of<double>(
      {6}, std::vector<double>{1 + 0x1p-24, 1 + 0x3p-24, 1 + 0x1p-8, 1 + 0x3p-8, 1e39, -1e39});
  CHECK(x.to(DType::f32).to_vector<float>() ==
        std::vector<float>{1, 1 + 0x1p-22f, 1 + 0x1p-8f, 1 + 0x3p-8f, INFINITY, -INFINITY});
  CHECK(values_of(x.to(DType::bf16)) == std::vector<double>{1, 1, 1, 1 + 0x1p-6, INFINITY, -INFINITY});
  const Tensor fractions = tensor_of<float>({4}, std::vector<float>{1.9f, -1.9f, 0.5f, -0.5f});
  CHECK(fractions.to(DType::i32).to_vector<int32_t>() == std::vector<int32_t>{1, -1, 0, 0});
  CHECK(fractions.to(DType::i64).to_vector<int64_t>() == std::vector<int64_t>{1, -1, 0, 0});
  const Tensor integers = tensor_of<int64_t>({3}, std::vector<int64_t>{INT64_MIN, (1 << 24) + 1, -257});
  CHECK(integers.to(DType::f32).to_vector<float>() == std::vector<float>{-0x1p63f, 0x1p24f, -257});
  CHECK(values_of(integers.to(DType::bf16)) ==
        std::vector<double>{-0x1p63, 0x1p24, -256});  // 257: a tie to even
  CHECK(tensor_of<int32_t>({2}, std::vector<int32_t>{INT32_MIN, INT32_MAX})
            .to(DType::i64)
            .to_vector<int64_t>() == std::vector<int64_t>{INT32_MIN, INT32_MAX});
}

TEST_CASE("array: NaN stays NaN between floating dtypes") {
  for (DType from : {DType::f32, DType::f64, DType::bf16})
    for (DType to : {DType::f32, DType::f64, DType::bf16})
      CHECK(std::isnan(full({1}, NAN, from).to(to).to(DType::f64).to_vector<double>()[0]));
}

TEST_CASE("array: copy goes to and from views, and large arrays are copied whole") {
  const Tensor y = zeros({3, 2}, DType::f32);
  const Tensor x = tensor_of<int32_t>({2, 2}, std::vector<int32_t>{1, 2, 3, 4});
  copy(y.view_rows(1, 2), x.view_rows(1, 2));
  CHECK(y.to_vector<float>() == std::vector<float>{0, 0, 3, 4, 0, 0});
  constexpr int64_t kCount = 300001;
  std::vector<int64_t> values(kCount);
  for (int64_t i = 0; i < kCount; ++i) values[i] = i * 7 % 16777216;
  const Tensor large = tensor_of<int64_t>({kCount}, values);
  CHECK(large.to(DType::f32).to(DType::i64).to_vector<int64_t>() == values);
  CHECK(large.to(DType::f64).to(DType::i32).to(DType::i64).to_vector<int64_t>() == values);
}

TEST_CASE("array: pack copies tensors to their places and nothing else, and refuses what does not fit") {
  const Tensor y = full({10}, -1, DType::f32), a = full({2, 2}, 3, DType::f32), b = full({1}, 4, DType::f32);
  const uint64_t version = y.storage()->version();
  pack(y, {b, a, zeros({0}, DType::f32)}, {9, 1, 10});
  CHECK(y.to_vector<float>() == std::vector<float>{-1, 3, 3, 3, 3, -1, -1, -1, -1, 4});
  CHECK(y.storage()->version() > version);
  CHECK_THROWS_WITH_AS(
      pack(y, {a}, {7}),
      "pack: xs[0], f32 (2, 2) on cpu, cannot be copied to y, f32 (10) on cpu, from element 7 on", Error);
  CHECK_THROWS_AS(pack(y, {a}, {-1}), Error);
  CHECK_THROWS_AS(pack(y, {a.to(DType::f64)}, {0}), Error);
  CHECK_THROWS_AS(pack(y, {a, b}, {0}), Error);
  CHECK_THROWS_AS(pack(y.view_as({2, 5}), {b}, {0}), Error);
  CHECK_THROWS_AS(pack(y, {Tensor()}, {0}), Error);
}

TEST_CASE("array: copy and add refuse tensors that do not match") {
  const Tensor x = zeros({2, 3}, DType::f32);
  CHECK_THROWS_WITH_AS(copy(x, zeros({3, 2}, DType::f32)),
                       "copy: shapes differ: from x, f32 (3, 2) on cpu, to y, f32 (2, 3) on cpu", Error);
  CHECK_THROWS_AS(copy(x, zeros({6}, DType::f32)), Error);
  CHECK_THROWS_WITH_AS(
      add_in_place(x, zeros({2, 3}, DType::f64)),
      "add_in_place: y is f32 (2, 3) on cpu, x is f64 (2, 3) on cpu; they must be floating, of one shape, dtype and device",
      Error);
  CHECK_THROWS_AS(add_in_place(x, zeros({3, 2}, DType::f32)), Error);
  CHECK_THROWS_AS(add_in_place(zeros({2}, DType::i32), zeros({2}, DType::i32)), Error);
}

TEST_CASE("array: add_in_place, for sizes around the block that one thread takes") {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    for (int64_t n : {0, 1, 3, 33, 65, 32767, 32768, 32769, 100001}) {
      Tensor y({n}, DType::f64), x({n}, DType::f64);
      for (int64_t i = 0; i < n; ++i) {
        y.data<double>()[i] = static_cast<double>(i % 64);
        x.data<double>()[i] = static_cast<double>(i % 5) / 2;
      }
      const Tensor sum = y.to(dtype).clone();
      add_in_place(sum, x.to(dtype));
      const std::vector<double> got = values_of(sum);
      int64_t wrong = 0;
      for (int64_t i = 0; i < n; ++i)
        wrong += got[i] != static_cast<double>(i % 64) + static_cast<double>(i % 5) / 2;
      CAPTURE(n);
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("array: add_in_place to itself doubles") {
  const Tensor x = tensor_of<float>({3}, std::vector<float>{1, -2, 0.5f});
  add_in_place(x, x);
  CHECK(x.to_vector<float>() == std::vector<float>{2, -4, 1});
}

TEST_CASE("array: all_finite finds one bad element anywhere, and counts the largest number as finite") {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    for (int64_t n : {1, 2, 33, 1000}) {
      for (int64_t at : {int64_t{0}, n / 2, n - 1}) {
        for (double bad : {double{NAN}, double{INFINITY}, -double{INFINITY}}) {
          const Tensor x = full({n}, 1, dtype);
          CHECK(all_finite(x));
          fill(x.view_rows(at, at + 1), bad);
          CHECK_FALSE(all_finite(x));
        }
      }
    }
  }
  CHECK(all_finite(full({3}, std::numeric_limits<float>::max(), DType::f32)));
  CHECK(all_finite(full({3}, -std::numeric_limits<double>::max(), DType::f64)));
  CHECK(all_finite(full({3}, 0x1.FEp127, DType::bf16)));
  CHECK(all_finite(full({3}, 1e-45, DType::f32)));
  CHECK(all_finite(Tensor({0}, DType::f32)));
  for (DType dtype : {DType::i32, DType::i64, DType::u8}) CHECK(all_finite(full({3}, 255, dtype)));
}
