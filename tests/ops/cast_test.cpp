// cast: cases, dtypes of values and gradients, errors.
#include "tandem/ops/cast.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/core/print.h"
#include "tandem/ops/reference/cast.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

SIGNATURES(cast) {
  add_unary_signature("cast", "cast",
                      [](const Tensor& x, const Numbers& n) { return cast(x, static_cast<DType>(n[0])); },
                      {{"dtype", 1, {0, 2, 3, 4, 5}}});
}

OP_CASES(cast) {
  for (const Shape shape : {Shape{}, Shape{1}, Shape{3, 33}, Shape{65, 2, 7}})
    add_op_case(
        {.op = "cast",
         .name = shape.str() + " to f64 and back",
         .inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
           return {random_tensor(shape, dtype, seed)};
         },
         .run = [](const Tensors& x) -> Tensors { return {cast(cast(x[0], DType::f64), x[0].dtype())}; },
         .reference = [](const Tensors& x) -> Tensors { return {reference::cast_to_f64(x[0])}; }});
}

TEST_CASE("cast: the gradient comes back in the dtype of the input, through every pair of dtypes") {
  for (const Device device : test_devices()) {
    for (const DType from : {DType::f32, DType::f64, DType::bf16}) {
      for (const DType to : {DType::f32, DType::f64, DType::bf16}) {
        CAPTURE(std::string(name_of(from)));
        CAPTURE(std::string(name_of(to)));
        const Tensor x =
            requires_grad(tensor_of<float>({2}, std::vector<float>{1.5f, -0.25f}).to(from).to(device));
        Tape tape;
        const Tensor y = cast(x, to);
        CHECK(y.dtype() == to);
        CHECK(y.to(Device::cpu()).to(DType::f64).to_vector<double>() == std::vector<double>{1.5, -0.25});
        tape.backward({y}, {tensor_of<float>({2}, std::vector<float>{3, 0.5f}).to(to).to(device)});
        REQUIRE(grad(x).defined());
        CHECK(grad(x).dtype() == from);
        CHECK(grad(x).to(Device::cpu()).to(DType::f64).to_vector<double>() == std::vector<double>{3, 0.5});
      }
    }
  }
}

TEST_CASE("cast: Tensor::to() and clone() carry the gradient while a tape records, and only then") {
  for (const Device device : test_devices()) {
    const Tensor x = requires_grad(tensor_of({2}, {1.5f, -0.25f}).to(device));
    CHECK(!needs_grad(x.clone()));
    CHECK(!needs_grad(x.to(DType::f32)));
    Tape tape;
    {
      const NoGrad pause;
      CHECK(!needs_grad(x.clone()));
    }
    CHECK(!needs_grad(x.to(DType::i32)));
    CHECK(!needs_grad(x.detach().to(DType::f64)));
    CHECK(tape.size() == 0);
    const Tensor y = x.to(DType::f64).clone().to(DType::f64).to(Device::cpu());
    CHECK(y.to_vector<double>() == std::vector<double>{1.5, -0.25});
    tape.backward({y}, {tensor_of({2}, {3.0, 0.5})});
    CHECK(grad(x).dtype() == DType::f32);
    CHECK(grad(x).device() == device);
    CHECK(grad(x).to_vector<float>() == std::vector<float>{3, 0.5});
    CHECK(!needs_grad(x.clone()));  // the tape is spent: x is only looked at
  }
}

TEST_CASE("cast: a tracked tensor can be looked at without a trace on the tape") {
  const Tensor x = requires_grad(tensor_of({1}, {2.0f}));
  Tape tape;
  CHECK(x.item() == 2);
  CHECK(x.to_vector<float>()[0] == 2);
  CHECK(x.str() == "[2.] f32 (1) on cpu");
  CHECK(tape.size() == 0);
}

TEST_CASE("cast: integers and undefined tensors are refused") {
  CHECK(contains(error_of([] { cast(zeros({2}, DType::i32), DType::f32); }),
                 "cast: x is i32 (2) on cpu, dtype f32"));
  CHECK(contains(error_of([] { cast(zeros({2}, DType::f32), DType::i64); }),
                 "dtype i64; both must be floating"));
  CHECK(contains(error_of([] { cast(Tensor(), DType::f32); }), "cast: x is an undefined tensor"));
}

}  // namespace
}  // namespace tandem::testing
