// matmul: cases for the shared checks, gradients that add up in place, bf16, errors.
#include "tandem/ops/matmul.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/core/error.h"
#include "tandem/ops/gemm/log.h"
#include "tandem/ops/reference/matmul.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

void add_matmul_case(const char* sizes, int64_t batch, int64_t m, int64_t n, int64_t k,
                     MatmulOptions options) {
  const Shape a = options.transpose_a ? Shape{k, m} : Shape{m, k},
              b = options.transpose_b ? Shape{n, k} : Shape{k, n};
  const auto shape = [batch](const Shape& s) { return batch > 0 ? Shape{batch, s[0], s[1]} : s; };
  add_op_case(
      {.op = "matmul",
       .name = std::string(sizes) + (options.transpose_a ? " a^T" : "") + (options.transpose_b ? " b^T" : ""),
       .inputs = [a = shape(a), b = shape(b)](DType dtype, uint64_t seed) -> Tensors {
         return {random_tensor(a, dtype, seed), random_tensor(b, dtype, seed + 1)};
       },
       .run = [options](const Tensors& x) -> Tensors { return {matmul(x[0], x[1], options)}; },
       .reference = [options](const Tensors& x) -> Tensors {
         return {reference::matmul(x[0], x[1], options)};
       }});
}

}  // namespace

SIGNATURES(matmul) {
  add_signature({.op = "matmul",
                 .function = "matmul",
                 .sizes = {3, 2, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"a", {n[0], n[1]}}, {"b", {n[1], n[2]}}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors { return {matmul(x[0], x[1])}; }});
  add_signature({.op = "matmul",
                 .function = "matmul",
                 .sizes = {3, 2, 5, 4},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"a", {n[3], n[1], n[0]}}, {"b", {n[3], n[2], n[1]}}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors {
                   return {matmul(x[0], x[1], {.transpose_a = true, .transpose_b = true})};
                 }});
}

OP_CASES(matmul) {
  for (bool ta : {false, true})
    for (bool tb : {false, true}) {
      add_matmul_case("1x1x1", 0, 1, 1, 1, {ta, tb});
      add_matmul_case("3x33x65", 0, 3, 33, 65, {ta, tb});
      add_matmul_case("65x3x33", 0, 65, 3, 33, {ta, tb});
      add_matmul_case("batch of 3, 33x65x3", 3, 33, 65, 3, {ta, tb});
    }
}

TEST_CASE("matmul: gradients of leaves add up in place, also of a leaf used twice") {
  const Tensor a = requires_grad(random_tensor({5, 5}, DType::f64, 1)), ones = full({5, 5}, 1, DType::f64);
  const auto backward = [&a, &ones] {
    Tape tape;
    const Tensor c = matmul(a, a);
    tape.backward({c}, {ones});
  };
  backward();
  const Tensor once = grad(a).clone();
  const void* place = grad(a).raw();
  const Tensor at = reference::matmul(ones, a.detach(), {false, true}),
               ta = reference::matmul(a.detach(), ones, {true, false});
  for (int64_t i = 0; i < 25; ++i)
    CHECK(once.data<double>()[i] == doctest::Approx(at.data<double>()[i] + ta.data<double>()[i]));
  backward();
  CHECK(grad(a).raw() == place);
  for (int64_t i = 0; i < 25; ++i)
    CHECK(grad(a).data<double>()[i] == doctest::Approx(2 * once.data<double>()[i]));
}

TEST_CASE("matmul: backward keeps the precision of forward") {
  if (!cpu_has_bf16()) {
    MESSAGE("skipped: this CPU has no bf16");
    return;
  }
  const Tensor a = requires_grad(random_tensor({40, 50}, DType::f32, 1)),
               b = requires_grad(random_tensor({50, 60}, DType::f32, 2));
  const Tensor dc = random_tensor({40, 60}, DType::f32, 3);
  const GemmFlops before = gemm_flops();
  {
    Tape tape;
    Tensor c;
    {
      const PrecisionScope scope(MatmulPrecision::bf16);
      c = matmul(a, b);
    }
    tape.backward({c}, {dc});
    const double error = relative_error(c, reference::matmul(a.to(DType::f64), b.to(DType::f64), {}));
    CHECK(error > 1e-5);
    CHECK(error < 1e-2);
  }
  CHECK(gemm_flops().bf16 - before.bf16 == 3 * 2 * 40 * 50 * 60);
  CHECK(gemm_flops().f32 == before.f32);
  CHECK(relative_error(grad(a), reference::matmul(dc.to(DType::f64), b.to(DType::f64), {false, true})) <
        1e-2);
  CHECK(relative_error(grad(b), reference::matmul(a.to(DType::f64), dc.to(DType::f64), {true, false})) <
        1e-2);
}

TEST_CASE("matmul: errors name the shapes and the sizes that differ") {
  const auto f32 = [](Shape shape) { return zeros(shape, DType::f32); };
  CHECK_THROWS_WITH_AS(
      matmul(f32({64, 512}), f32({256, 1024})),
      "matmul: inner sizes differ: a is (64, 512), b is (256, 1024); a's last must equal b's first", Error);
  CHECK_THROWS_WITH_AS(
      matmul(f32({64, 512}), f32({256, 1024}), {true, true}),
      "matmul: inner sizes differ: a is (64, 512) transposed, b is (256, 1024) transposed; a's first must equal b's last",
      Error);
  CHECK_THROWS_WITH_AS(
      matmul(f32({2, 4, 3}), f32({2, 4, 3})),
      "matmul: inner sizes differ: a is (2, 4, 3), b is (2, 4, 3); a's last must equal b's second", Error);
  CHECK_THROWS_WITH_AS(matmul(f32({2, 4, 3}), f32({3, 3, 4})),
                       doctest::Contains("batch sizes differ: a is (2, 4, 3), b is (3, 3, 4)"), Error);
  CHECK_THROWS_WITH_AS(matmul(f32({2, 4, 3}), f32({3, 4})), doctest::Contains("both must be matrices"),
                       Error);
  CHECK_THROWS_WITH_AS(matmul(f32({4}), f32({4})), doctest::Contains("both must be matrices"), Error);
  CHECK_THROWS_WITH_AS(matmul(f32({4, 3}), zeros({3, 4}, DType::f64)),
                       doctest::Contains("one floating dtype"), Error);
}
