// rms_norm: cases with and without a gain, rows of length 1, rows of zeros, errors.
#include "tandem/ops/rms_norm.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/ops/reference/rms_norm.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

OpCase op_case_of(Shape shape, bool gain, double eps) {
  OpCase op_case;
  op_case.op = "rms_norm";
  op_case.name = shape.str() + (gain ? ", gain" : ", no gain");
  op_case.inputs = [shape, gain](DType dtype, uint64_t seed) -> Tensors {
    Tensors inputs{random_tensor(shape, dtype, seed, -2, 3)};
    if (gain) inputs.push_back(random_tensor({shape[-1]}, dtype, seed + 1, 0.5, 1.5));
    return inputs;
  };
  op_case.run = [gain, eps](const Tensors& in) -> Tensors {
    return {rms_norm(in[0], gain ? in[1] : Tensor(), eps)};
  };
  op_case.reference = [gain, eps](const Tensors& in) -> Tensors {
    return {reference::rms_norm(in[0], gain ? in[1] : Tensor(), eps)};
  };
  if (gain) op_case.weights = {1};
  return op_case;
}

}  // namespace

SIGNATURES(rms_norm) {
  add_signature(
      {.op = "rms_norm",
       .function = "rms_norm",
       .sizes = {3, 5},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"x", {n[0], n[1]}}, {"gain", {n[1]}, DType::f32, true}};
       },
       .call = [](const Tensors& x, const Numbers& n) -> Tensors { return {rms_norm(x[0], x[1], n[0])}; },
       .numbers = {{"eps", 1e-6, {0, -1, NAN}}}});
}

OP_CASES(rms_norm) {
  for (const bool gain : {true, false}) {
    add_op_case(op_case_of({1}, gain, 0.5));
    add_op_case(op_case_of({3, 33}, gain, 1e-6));
    add_op_case(op_case_of({5, 2, 64}, gain, 1e-6));
    add_op_case(op_case_of({70, 3, 65}, gain, 0.5));
    add_op_case(op_case_of({2, 5000}, gain, 1e-6));
  }
  add_op_case(op_case_of({300, 256}, true, 1e-6));
}

TEST_CASE("rms_norm: without gain rows have the length sqrt(D), whatever theirs was") {
  for (const Device device : test_devices()) {
    const Tensor y = rms_norm(random_tensor({4, 48}, DType::f64, 3, -1e3, 1e3).to(device), {}, 1e-12);
    const std::vector<double> values = y.to_vector<double>();
    for (size_t row = 0; row < 4; ++row) {
      double squares = 0;
      for (size_t j = 0; j < 48; ++j) squares += values[48 * row + j] * values[48 * row + j];
      CHECK(squares == doctest::Approx(48).epsilon(1e-12));
    }
  }
}

TEST_CASE("rms_norm: a row of zeros gives zeros and a finite gradient; no rows are no error") {
  for (const Device device : test_devices()) {
    const Tensor x = requires_grad(zeros({2, 5}, DType::f32, device));
    const Tensor gain = requires_grad(full({5}, 2, DType::f32, device));
    Tape tape;
    const Tensor y = rms_norm(x, gain, 1e-6);
    tape.backward({y}, {full({2, 5}, 1, DType::f32, device)});
    for (const float value : y.to_vector<float>()) CHECK(value == 0);
    for (const float value : grad(x).to_vector<float>()) CHECK(value == doctest::Approx(2000));
    for (const float value : grad(gain).to_vector<float>()) CHECK(value == 0);
    CHECK(rms_norm(zeros({0, 5}, DType::f32, device)).shape() == Shape{0, 5});
  }
}

TEST_CASE("rms_norm: errors") {
  const Tensor x = zeros({2, 3}, DType::f32);
  const auto error = [](const Tensor& of, const Tensor& gain, double eps) {
    return error_of([&] { rms_norm(of, gain, eps); });
  };
  CHECK(error(x, zeros({4}, DType::f32), 1e-6) ==
        "rms_norm: gain is (4), but x is (2, 3) and takes gain (3)");
  CHECK(contains(error(x, zeros({3}, DType::f64), 1e-6), "rms_norm: gain is f64 (3) on cpu"));
  CHECK(error(x, {}, 0) == "rms_norm: eps is 0; it must be positive, such as 1e-6");
  CHECK(error(zeros({2, 0}, DType::f32), {}, 1) ==
        "rms_norm: x is (2, 0); it needs a last axis of at least one element");
  CHECK(error(zeros({2, 3}, DType::i32), {}, 1) ==
        "rms_norm: x is i32 (2, 3) on cpu; its dtype must be f32 or f64 on the CPU");
}

}  // namespace tandem::testing
