// int8 products: exact against plain integer loops, with and without oneDNN; close to f32; and when linear() uses
// them.
#include "tandem/ops/gemm/int8.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tandem/autograd/leaf.h"
#include "tandem/core/array.h"
#include "tandem/ops/gemm/onednn.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/support/weight_cache.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/threads.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

Tensor random_codes(Shape shape, uint64_t seed) {
  return random_tensor(shape, DType::f64, seed, 0, 256).to(DType::u8);
}

// Makes rows of whole numbers -100..155 with both ends in every row, so that quantization changes nothing.
Tensor whole_rows(int64_t rows, int64_t in, uint64_t seed) {
  const Tensor x = random_tensor({rows, in}, DType::f32, seed, -100, 155);
  for (float& value : x.span<float>()) value = std::round(value);
  for (int64_t i = 0; i < rows; ++i) {
    x.data<float>()[i * in] = -100;
    x.data<float>()[i * in + in / 2] = 155;
  }
  return x;
}

Gemm product_of(int64_t rows, const Int8Weight& weight) {
  return {.m = rows,
          .n = weight.out,
          .k = weight.in,
          .transpose_b = true,
          .lda = weight.in,
          .ldb = weight.in,
          .ldc = weight.out};
}

Tensor product(const Tensor& x, const Int8Weight& weight, const Tensor& bias = {}) {
  const Tensor y({x.size(0), weight.out}, DType::f32);
  cpu::gemm_int8(y.data<float>(), x.data<float>(), product_of(x.size(0), weight), weight,
                 bias.defined() ? bias.data<float>() : nullptr);
  return y;
}

// Returns the weight that the codes represent.
Tensor weight_of(const Tensor& codes, float step, float zero) {
  return tensor_from(codes.shape(),
                     [&codes, step, zero](int64_t i) { return step * (codes.data<uint8_t>()[i] - zero); })
      .to(DType::f32);
}

struct Sizes {
  int64_t rows, out, in;
};
const std::vector<Sizes> kSizes = {{1, 1, 2},      {3, 33, 65},   {65, 65, 33},  {1, 600, 64},
                                   {130, 64, 257}, {33, 1100, 3}, {300, 70, 130}};

}  // namespace

TEST_CASE("int8: products of whole numbers equal a plain integer loop exactly") {
  for (const Sizes& size : kSizes) {
    CAPTURE(size.rows);
    CAPTURE(size.out);
    CAPTURE(size.in);
    const Tensor x = whole_rows(size.rows, size.in, 1), codes = random_codes({size.out, size.in}, 2);
    const Tensor y = product(x, Int8Weight(codes, 1.0f, 100.0f));
    int64_t wrong = 0;
    for (int64_t i = 0; i < size.rows; ++i)
      for (int64_t j = 0; j < size.out; ++j) {
        int64_t sum = 0;
        for (int64_t k = 0; k < size.in; ++k)
          sum += static_cast<int64_t>(x.data<float>()[i * size.in + k]) *
                 (codes.data<uint8_t>()[j * size.in + k] - 100);
        wrong += y.data<float>()[i * size.out + j] != static_cast<float>(sum);
      }
    CHECK(wrong == 0);
  }
}

TEST_CASE("int8: the loop for CPUs without the instructions gives the same integers as oneDNN") {
  if (!cpu::onednn_has_int8()) {
    MESSAGE("skipped: this CPU has no int8 instructions that oneDNN can use");
    return;
  }
  constexpr int64_t m = 37, n = 192, k = 320;
  const Tensor left = random_codes({m, k}, 1), right = random_codes({n, k}, 2);
  left.data<uint8_t>()[0] = 255;  // the largest products: the sum of two does not fit into 16 bits
  left.data<uint8_t>()[1] = 255;
  std::fill_n(right.data<uint8_t>(), 2, uint8_t{255});
  const Int8Weight weight(right, 1, 0);
  const auto* panels = static_cast<const int8_t*>(weight.packed.raw());
  Tensor plain({m, n}, DType::i32), fast({m, n}, DType::i32);
  cpu::multiply_int8(plain.data<int32_t>(), left.data<uint8_t>(), panels, m, n, k);
  const cpu::SingleThreaded single;
  cpu::onednn_multiply_int8(fast.data<int32_t>(), left.data<uint8_t>(), panels, m, n, k);
  CHECK(plain.to_vector<int32_t>() == fast.to_vector<int32_t>());
  int32_t first = 0;
  for (int64_t i = 0; i < k; ++i) first += left.data<uint8_t>()[i] * (right.data<uint8_t>()[i] - 128);
  CHECK(plain.data<int32_t>()[0] == first);
}

TEST_CASE("int8: activations are rounded to 255 steps of the range of their row") {
  for (const Sizes& size : kSizes) {
    CAPTURE(size.rows);
    CAPTURE(size.out);
    CAPTURE(size.in);
    Tensor x = random_tensor({size.rows, size.in}, DType::f32, 1, -1, 3);
    std::fill_n(x.data<float>(), size.in, 0.0f);  // a row of zeros is exact
    const Tensor codes = random_codes({size.out, size.in}, 2),
                 bias = random_tensor({size.out}, DType::f32, 3);
    const float step = 0.01f, zero = 130.4f;
    const Tensor w = weight_of(codes, step, zero), y = product(x, Int8Weight(codes, step, zero), bias);
    const Tensor expected = linear(x, w, bias);
    for (int64_t j = 0; j < size.out; ++j)
      CHECK(y.data<float>()[j] == doctest::Approx(bias.data<float>()[j]));
    double worst = 0;
    for (int64_t i = 0; i < y.numel(); ++i) {
      double bound = 1e-4;  // half a step of at most 4 / 255 for each input
      for (int64_t k = 0; k < size.in; ++k)
        bound += std::fabs(w.data<float>()[i % size.out * size.in + k]) * 2.01 / 255;
      worst = std::max(worst, std::fabs(y.data<float>()[i] - expected.data<float>()[i]) / bound);
    }
    CHECK(worst <= 1);
  }
}

TEST_CASE("int8: products respect gaps between rows, and accumulate") {
  constexpr int64_t rows = 5, in = 33, out = 70, lda = 40, ldc = 75;
  const Tensor codes = random_codes({out, in}, 1), x = random_tensor({rows, in}, DType::f32, 2);
  const Int8Weight weight(codes, 0.01f, 128);
  const Tensor alone = product(x, weight), wide = full({rows, lda}, 1e30, DType::f32);
  for (int64_t i = 0; i < rows; ++i) std::copy_n(x.data<float>() + i * in, in, wide.data<float>() + i * lda);
  Gemm p = product_of(rows, weight);
  p.lda = lda;
  p.ldc = ldc;
  for (const bool accumulate : {false, true}) {
    p.accumulate = accumulate;
    const Tensor c = full({rows, ldc}, 3, DType::f32);
    cpu::gemm_int8(c.data<float>(), wide.data<float>(), p, weight);
    for (int64_t i = 0; i < rows * ldc; ++i) {
      const float before = accumulate ? 3 : 0;
      const float expected = i % ldc < out ? before + alone.data<float>()[i / ldc * out + i % ldc] : 3;
      CHECK(c.data<float>()[i] == doctest::Approx(expected).epsilon(1e-6));
    }
  }
}

TEST_CASE("int8: products have the same bits for any number of threads") {
  const Tensor x = random_tensor({200, 500}, DType::f32, 1), codes = random_codes({700, 500}, 2);
  const Int8Weight weight(codes, 0.02f, 128.3f);
  const auto with = [&x, &weight](int count) {
    const Threads threads(count);
    return product(x, weight).to_vector<float>();
  };
  const std::vector<float> one = with(1);
  CHECK(with(2) == one);
  CHECK(with(3) == one);
}

TEST_CASE("int8: a value that is not finite makes its row NaN, and no other") {
  const Int8Weight weight(random_codes({5, 7}, 1), 0.1f, 128);
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const Tensor x = random_tensor({3, 7}, DType::f32, 2);
    x.data<float>()[7 + 4] = bad;
    const Tensor y = product(x, weight);
    for (int64_t i = 0; i < y.numel(); ++i) CHECK(std::isnan(y.data<float>()[i]) == (i / 5 == 1));
  }
  CHECK(product(zeros({0, 7}, DType::f32), weight).shape() == Shape{0, 5});
}

TEST_CASE("int8: linear uses the 8-bit form of a leaf until the leaf is written to") {
  const Tensor codes = random_codes({33, 65}, 1), x = random_tensor({9, 65}, DType::f32, 2);
  const Tensor weight = requires_grad(weight_of(codes, 0.01f, 120.0f)),
               bias = random_tensor({33}, DType::f32, 3);
  const auto form = std::make_shared<const Int8Weight>(codes, 0.01f, 120.0f);
  const std::vector<float> f32 = linear(x, weight, bias).to_vector<float>();
  CHECK(int8_form(weight) == nullptr);
  set_int8(weight, form);
  CHECK(int8_form(weight) == form.get());
  CHECK(linear(x, weight, bias).to_vector<float>() == product(x, *form, bias).to_vector<float>());
  CHECK(linear(x, weight, bias).to_vector<float>() != f32);
  copy(weight, weight.clone());
  CHECK(int8_form(weight) == nullptr);
  CHECK(linear(x, weight, bias).to_vector<float>() == f32);
}

TEST_CASE("int8: errors name the tensors and the reason") {
  CHECK(contains(error_of([] {
                   Int8Weight(zeros({2, 3}, DType::f32), 1, 0);
                 }),
                 "int8: codes are f32 (2, 3) on cpu"));
  CHECK(contains(error_of([] { Int8Weight(zeros({6}, DType::u8), 1, 0); }), "must be u8 (out, in)"));
  CHECK(contains(error_of([] { Int8Weight(zeros({1, 65537}, DType::u8), 1, 0); }), "65537 inputs"));
  const auto form = std::make_shared<const Int8Weight>(zeros({2, 3}, DType::u8), 1.0f, 0.0f);
  CHECK(contains(error_of([&form] {
                   set_int8(zeros({2, 3}, DType::f32), form);
                 }),
                 "must be a leaf, f32 on the CPU"));
  CHECK(contains(error_of([&form] {
                   set_int8(requires_grad(zeros({2, 3}, DType::f64)), form);
                 }),
                 "f64 (2, 3)"));
  CHECK(contains(error_of([&form] {
                   set_int8(requires_grad(zeros({3, 2}, DType::f32)), form);
                 }),
                 "the form is (2, 3), the weight is f32 (3, 2)"));
}
