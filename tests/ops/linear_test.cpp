// linear: cases for the shared checks, the choice of a path, gradients in place, what is computed, bf16, errors.
#include "tandem/ops/linear.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/core/error.h"
#include "tandem/core/streaming.h"
#include "tandem/ops/concat.h"
#include "tandem/ops/gemm/log.h"
#include "tandem/ops/reference/linear.h"
#include "tandem/ops/support/weight_cache.h"
#include "tests/support/op_cases.h"
#include "tests/support/run_op_case.h"
#include "tests/support/signatures.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

void add_linear_case(const Shape& x, int64_t out, bool with_bias) {
  add_op_case(
      {.op = "linear",
       .name = x.str() + " to " + std::to_string(out) + (with_bias ? " with bias" : ""),
       .inputs = [x, out, with_bias](DType dtype, uint64_t seed) -> Tensors {
         Tensors inputs{random_tensor(x, dtype, seed), random_tensor({out, x.back()}, dtype, seed + 1)};
         if (with_bias) inputs.push_back(random_tensor({out}, dtype, seed + 2));
         return inputs;
       },
       .run = [](const Tensors& x) -> Tensors {
         return {linear(x[0], x[1], x.size() > 2 ? x[2] : Tensor())};
       },
       .reference = [](const Tensors& x) -> Tensors {
         return {reference::linear(x[0], x[1], x.size() > 2 ? x[2] : Tensor())};
       }});
}

}  // namespace

SIGNATURES(linear) {
  add_signature(
      {.op = "linear",
       .function = "linear",
       .sizes = {3, 2, 5},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"x", {n[0], n[1]}}, {"weight", {n[2], n[1]}}, {"bias", {n[2]}, DType::f32, true}};
       },
       .call = [](const Tensors& x, const Numbers&) -> Tensors { return {linear(x[0], x[1], x[2])}; }});
  add_signature(
      {.op = "linear",
       .function = "linear_bf16_out",
       .sizes = {3, 2, 5},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"x", {n[0], n[1]}}, {"weight", {n[2], n[1]}}};
       },
       .call = [](const Tensors& x, const Numbers&) -> Tensors { return {linear_bf16_out(x[0], x[1])}; }});
  add_signature({.op = "linear",
                 .function = "linear_rows",
                 .sizes = {3, 2, 5, 4},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"before", {n[3], 2, n[1]}, DType::f32, true},
                           {"x", {n[0], 2, n[1]}},
                           {"weight", {n[2], n[1]}}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors {
                   return {linear_rows(x[0], x[1], x[2]).all};
                 }});
}

OP_CASES(linear) {
  for (bool bias : {false, true}) {
    add_linear_case({1}, 1, bias);
    add_linear_case({65}, 3, bias);
    add_linear_case({33, 3}, 65, bias);
    add_linear_case({3, 65, 33}, 33, bias);
    add_linear_case({300, 7}, 130, bias);
    add_linear_case({130, 8}, 11, bias);  // in bf16 a GPU pads these rows of y
  }
}

TEST_CASE(
    "linear_rows: results and gradients have the bits of a concat of two products, whichever outputs are used") {
  for (const int used : {1, 2, 3}) {  // all, y, both
    std::vector<Tensor> results[2];
    for (const bool in_place : {false, true}) {
      const Tensor before = requires_grad(random_tensor({5, 2, 7}, DType::f32, 1)),
                   x = requires_grad(random_tensor({3, 2, 7}, DType::f32, 2)),
                   weight = requires_grad(random_tensor({4, 7}, DType::f32, 3));
      Tape tape;
      LinearRows z;
      if (in_place) {
        z = linear_rows(before, x, weight);
        CHECK(z.y.storage() == z.all.storage());
      } else {
        z.y = linear(x, weight);
        z.all = concat({linear(before, weight), z.y});
      }
      std::vector<Tensor> ys, dys;
      if (used & 1) ys.push_back(z.all), dys.push_back(random_tensor({8, 2, 4}, DType::f32, 4));
      if (used & 2) ys.push_back(z.y), dys.push_back(random_tensor({3, 2, 4}, DType::f32, 5));
      tape.backward(ys, dys);
      results[in_place] = {z.all, z.y, grad(x), grad(weight)};
      if (used & 1)
        results[in_place].push_back(grad(before));
      else if (in_place)
        CHECK(grad(before).to_vector<float>() == std::vector<float>(70, 0));
    }
    for (size_t i = 0; i < results[0].size(); ++i)
      CHECK(results[0][i].to_vector<float>() == results[1][i].to_vector<float>());
  }
  const Tensor x = random_tensor({3, 2, 7}, DType::f32, 1), weight = random_tensor({4, 7}, DType::f32, 2);
  CHECK_THROWS_AS(linear_rows(random_tensor({5, 3, 7}, DType::f32, 3), x, weight), Error);
  const LinearRows alone = linear_rows({}, x, weight);
  CHECK(alone.all.storage() == alone.y.storage());
  CHECK(alone.y.to_vector<float>() == linear(x, weight).to_vector<float>());
}

TEST_CASE("linear_rows: earlier rows may have another dtype if they need no gradient") {
  const Tensor before = random_tensor({50, 2, 70}, DType::f32, 1).to(DType::bf16),
               x = random_tensor({30, 2, 70}, DType::f32, 2);
  for (const MatmulPrecision precision : {MatmulPrecision::f32, MatmulPrecision::bf16}) {
    if (precision == MatmulPrecision::bf16 && !cpu_has_bf16()) continue;
    const PrecisionScope scope(precision);
    std::vector<Tensors> results;
    for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
      const Tensor weight = requires_grad(random_tensor({40, 70}, DType::f32, 3));
      Tape tape;
      const LinearRows z = linear_rows(before.to(dtype), x, weight);
      tape.backward({z.all}, {random_tensor({80, 2, 40}, DType::f32, 4)});
      results.push_back({z.all, grad(weight)});
    }
    CHECK(same_bits(results[1], results[0]));
    CHECK(same_bits(results[2], results[0]));
  }
  const Tensor weight = random_tensor({40, 70}, DType::f32, 3);
  CHECK_THROWS_WITH_AS(
      linear_rows(requires_grad(before.to(DType::f64)), x, weight),
      doctest::Contains(
          "linear_rows: before is f64 (50, 2, 70) on cpu, x is f32 (30, 2, 70) on cpu; of another dtype before must be"),
      Error);
  CHECK_THROWS_AS(linear_rows(zeros({50, 2, 70}, DType::i32), x, weight), Error);
}

TEST_CASE("linear: the path on a CPU depends on dtypes, precision, and the forms that the weight has") {
  const Tensor weight = requires_grad(zeros({3, 4}, DType::f32)), x = zeros({2, 4}, DType::f32),
               y = zeros({2, 3}, DType::f32), x_bf16 = zeros({2, 4}, DType::bf16),
               y_bf16 = zeros({2, 3}, DType::bf16);
  const auto path = [&weight](const Tensor& y, const Tensor& x, MatmulPrecision precision) {
    return cpu::plan_linear(y, x, weight, precision).path;
  };
  const MatmulPrecision f32 = MatmulPrecision::f32, bf16 = MatmulPrecision::bf16;
  CHECK(path(y, x, f32) == cpu::LinearPath::general);
  CHECK(path(y, x, bf16) == cpu::LinearPath::general);
  CHECK(path(y, x_bf16, bf16) == cpu::LinearPath::bf16_input);
  CHECK(path(y_bf16, x, bf16) == cpu::LinearPath::bf16_output);
  {
    const GenerationScope generation;
    CHECK(path(y, x, f32) == cpu::LinearPath::general);
    CHECK(path(y, x, bf16) == cpu::LinearPath::kept_bf16);
    CHECK(path(y_bf16, x, bf16) == cpu::LinearPath::kept_bf16);
    CHECK(path(y, x_bf16, bf16) == cpu::LinearPath::bf16_input);
    const int64_t many = cpu::kMostKeptRows + 1;
    CHECK(path(zeros({many, 3}, DType::f32), zeros({many, 4}, DType::f32), bf16) == cpu::LinearPath::general);
    set_int8(weight, std::make_shared<const Int8Weight>(zeros({3, 4}, DType::u8), 1.0f, 0.0f));
    CHECK(path(y, x, bf16) == cpu::LinearPath::int8);
  }
  CHECK(path(y, x, f32) == cpu::LinearPath::int8);
}

TEST_CASE("linear: weight and bias gradients add up in place") {
  const Tensor x = requires_grad(random_tensor({6, 4}, DType::f64, 1)),
               dy = random_tensor({6, 3}, DType::f64, 4);
  const Tensor weight = requires_grad(random_tensor({3, 4}, DType::f64, 2)),
               bias = requires_grad(random_tensor({3}, DType::f64, 3));
  std::vector<Tensor> once;
  std::vector<const void*> places;
  for (int pass = 1; pass <= 3; ++pass) {
    Tape tape;
    const Tensor y = linear(x, weight, bias);
    tape.backward({y}, {dy});
    for (size_t i = 0; const Tensor& leaf : {weight, bias}) {
      if (pass == 1) {
        once.push_back(grad(leaf).clone());
        places.push_back(grad(leaf).raw());
      }
      CHECK(grad(leaf).raw() == places[i]);
      for (int64_t k = 0; k < leaf.numel(); ++k)
        CHECK(grad(leaf).data<double>()[k] == doctest::Approx(pass * once[i].data<double>()[k]));
      ++i;
    }
  }
}

TEST_CASE("linear: gradients that are not needed cost no products") {
  const Tensor x = random_tensor({10, 20}, DType::f32, 1), dy = random_tensor({10, 30}, DType::f32, 2);
  const Tensor weight = random_tensor({30, 20}, DType::f32, 3),
               bias = requires_grad(random_tensor({30}, DType::f32, 4));
  const auto flops = [&dy](const Tensor& x, const Tensor& weight, const Tensor& bias) {
    Tape tape;
    const Tensor y = linear(x, weight, bias);
    const int64_t before = gemm_flops().f32;
    tape.backward({y}, {dy});
    return gemm_flops().f32 - before;
  };
  constexpr int64_t kProduct = 2 * 10 * 20 * 30;
  CHECK(flops(x, weight, bias) == 0);
  CHECK(flops(requires_grad(x.clone()), weight, bias) == kProduct);
  CHECK(flops(x, requires_grad(weight.clone()), bias) == kProduct);
  CHECK(flops(requires_grad(x.clone()), requires_grad(weight.clone()), {}) == 2 * kProduct);
}

TEST_CASE("linear: bf16 is close to f32 in forward and backward") {
  if (!cpu_has_bf16()) {
    MESSAGE("skipped: this CPU has no bf16");
    return;
  }
  const Tensor dy = random_tensor({70, 90}, DType::f32, 4);
  const auto run = [&dy](MatmulPrecision precision) -> Tensors {
    const PrecisionScope scope(precision);
    const Tensor x = requires_grad(random_tensor({70, 50}, DType::f32, 1)),
                 weight = requires_grad(random_tensor({90, 50}, DType::f32, 2));
    const Tensor bias = requires_grad(random_tensor({90}, DType::f32, 3));
    Tape tape;
    const Tensor y = linear(x, weight, bias);
    tape.backward({y}, {dy});
    return {y, grad(x), grad(weight), grad(bias)};
  };
  const Tensors f32 = run(MatmulPrecision::f32), bf16 = run(MatmulPrecision::bf16);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(relative_error(bf16[i], f32[i]) < 1e-2);
    CHECK(relative_error(bf16[i], f32[i]) > 1e-5);
  }
  CHECK(relative_error(bf16[3], f32[3]) == 0);
}

namespace {

// Returns y, dx and dW of linear_bf16_out() or of linear(), after two passes whose gradients add up.
Tensors bf16_or_f32(int64_t in, int64_t out, MatmulPrecision precision, bool bf16_out) {
  const PrecisionScope scope(precision);
  const Tensor x = requires_grad(random_tensor({7, 10, in}, DType::f32, 1)),
               weight = requires_grad(random_tensor({out, in}, DType::f32, 2)),
               dy = random_tensor({7, 10, out}, DType::f32, 4).to(DType::bf16);
  Tensor y;
  for (int pass = 0; pass < 2; ++pass) {
    Tape tape;
    y = bf16_out ? linear_bf16_out(x, weight) : linear(x, weight);
    tape.backward({y}, {dy.to(y.dtype())});
  }
  return {y, grad(x), grad(weight)};
}

}  // namespace

TEST_CASE(
    "linear_bf16_out: the result is that of linear rounded to bf16, with gradients of the rounded values" *
    doctest::test_suite("slow when emulated")) {
  if (!cpu_has_bf16()) MESSAGE("bf16 skipped: this CPU has none");
  // Columns that do and do not fill whole panels; a left operand that is packed in one piece and in two.
  for (const int64_t out : {90, 128, 640})
    for (const int64_t in : {50, 600}) {
      CAPTURE(out);
      CAPTURE(in);
      CHECK(same_bits(bf16_or_f32(in, out, MatmulPrecision::f32, true),
                      bf16_or_f32(in, out, MatmulPrecision::f32, false)));
      if (!cpu_has_bf16()) continue;
      Tensors expected = bf16_or_f32(in, out, MatmulPrecision::bf16, false);
      expected[0] = expected[0].to(DType::bf16);
      CHECK(same_bits(bf16_or_f32(in, out, MatmulPrecision::bf16, true), expected));
    }
}

TEST_CASE("linear: a result large enough for streaming stores equals the results of its parts" *
          doctest::test_suite("slow when emulated")) {
  const int64_t rows = 1030,
                out = kStreamingBytes / (4 * rows) + 6;  // the columns of the last tile are not whole panels
  REQUIRE(worth_streaming(4 * rows * out));
  const Tensor x = random_tensor({rows, 33}, DType::f32, 1), weight = random_tensor({out, 33}, DType::f32, 2),
               bias = random_tensor({out}, DType::f32, 3);
  for (const MatmulPrecision precision : {MatmulPrecision::f32, MatmulPrecision::bf16}) {
    if (precision == MatmulPrecision::bf16 && !cpu_has_bf16()) continue;
    const PrecisionScope scope(precision);
    const Tensor whole = linear(x, weight, bias);
    for (const int64_t begin : {int64_t{0}, rows / 2}) {
      const int64_t end = begin + rows / 2;
      CHECK(relative_error(linear(x.view_rows(begin, end).clone(), weight, bias),
                           whole.view_rows(begin, end)) < 1e-6);
    }
  }
}

TEST_CASE("linear: zero rows give an empty result and zero gradients") {
  const Tensor weight = requires_grad(random_tensor({3, 4}, DType::f32, 1)),
               bias = requires_grad(random_tensor({3}, DType::f32, 2));
  Tape tape;
  const Tensor y = linear(zeros({0, 4}, DType::f32), weight, bias);
  CHECK(y.shape() == Shape{0, 3});
  tape.backward({y}, {zeros({0, 3}, DType::f32)});
  CHECK(relative_error(grad(weight), zeros({3, 4}, DType::f32)) == 0);
  CHECK(relative_error(grad(bias), zeros({3}, DType::f32)) == 0);
}

TEST_CASE("linear: errors name the shapes and dtypes") {
  const auto f32 = [](Shape shape) { return zeros(shape, DType::f32); };
  CHECK_THROWS_WITH_AS(linear(f32({2, 3, 4}), f32({5, 6})),
                       "linear: x is (2, 3, 4), weight is (5, 6); the last sizes must be equal", Error);
  CHECK_THROWS_WITH_AS(linear(f32({3, 4}), f32({4})), doctest::Contains("it must be (out, in)"), Error);
  CHECK_THROWS_WITH_AS(linear(f32({3, 4}), f32({5, 4}), f32({4})),
                       "linear: bias is (4), weight is (5, 4); bias must be (5)", Error);
  CHECK_THROWS_WITH_AS(linear(f32({3, 4}), zeros({5, 4}, DType::f64)),
                       doctest::Contains("one floating dtype"), Error);
  CHECK_THROWS_WITH_AS(linear(f32({3, 4}), f32({5, 4}), zeros({5}, DType::f64)),
                       doctest::Contains("bias is f64"), Error);
}
