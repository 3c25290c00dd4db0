// rms_norm: cases, rows of zeros, gradients that add up, errors.
#include "tandem/ops/rms_norm.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/ops/reference/rms_norm.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

SIGNATURES(rms_norm) {
  add_signature({.op = "rms_norm",
                 .function = "rms_norm",
                 .sizes = {3, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"x", {n[0], n[1]}}, {"gain", {n[1]}}};
                 },
                 .call = [](const Tensors& x, [[maybe_unused]] const Numbers& n) -> Tensors {
                   return {rms_norm(x[0], x[1], n[0])};
                 },
                 .numbers = {{"eps", 1e-6, {0, -1, NAN}}}});
}

OP_CASES(rms_norm) {
  for (const Shape& shape : {Shape{1}, Shape{3, 33}, Shape{2, 3, 65}, Shape{400, 99}, Shape{5, 200},
                             Shape{2, 1000}, Shape{2, 2047}, Shape{2, 9000}, Shape{700, 24}})
    for (const double eps : {1e-6, 0.5}) {
      if (shape.back() == 1 && eps < 0.1)
        continue;  // y is the sign of x, and all digits of the gradient cancel
      add_op_case(
          {.op = "rms_norm",
           .name = shape.str() + (eps < 0.1 ? "" : ", large eps"),
           .inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
             return {random_tensor(shape, dtype, seed, -2, 2),
                     random_tensor({shape.back()}, dtype, seed + 1)};
           },
           .run = [eps](const Tensors& x) -> Tensors { return {rms_norm(x[0], x[1], eps)}; },
           .reference = [eps](const Tensors& x) -> Tensors { return {reference::rms_norm(x[0], x[1], eps)}; },
           .weights = {1}});
    }
}

TEST_CASE("rms_norm: a row of zeros stays zero, with a finite gradient") {
  for (const Device device : test_devices()) {
    const Tensor x = requires_grad(zeros({1, 4}, DType::f64, device));
    Tape tape;
    const Tensor y = rms_norm(x, full({4}, 2, DType::f64, device), 0.25);
    CHECK(y.to_vector<double>() == std::vector<double>(4));
    tape.backward({y}, {full({1, 4}, 1, DType::f64, device)});
    CHECK(grad(x).to_vector<double>() == std::vector<double>(4, 4));  // gain / sqrt(eps)
  }
}

TEST_CASE("rms_norm: empty tensors and errors") {
  const Tensor x = zeros({2, 3}, DType::f32), gain = zeros({3}, DType::f32);
  for (const Device device : test_devices()) {
    const Tensor leaf = requires_grad(full({3}, 1, DType::f32, device));
    Tape tape;
    const Tensor y = rms_norm(zeros({0, 3}, DType::f32, device), leaf);
    tape.backward({y}, {zeros({0, 3}, DType::f32, device)});
    CHECK(grad(leaf).to_vector<float>() == std::vector<float>(3));
  }
  CHECK(error_of([&] {
          rms_norm(zeros({2, 0}, DType::f32), gain);
        }) == "rms_norm: x is f32 (2, 0) on cpu; it needs a last axis of at least one element");
  CHECK(error_of([&] { rms_norm(x, zeros({2}, DType::f32)); }) ==
        "rms_norm: gain is (2), but x is (2, 3) and takes gain (3)");
  CHECK(error_of([&] { rms_norm(x, gain, 0); }) == "rms_norm: eps is 0; it must be positive, such as 1e-6");
  CHECK(contains(error_of([&] { rms_norm(x, Tensor()); }), "rms_norm: gain is an undefined tensor"));
}

}  // namespace
}  // namespace tandem::testing
