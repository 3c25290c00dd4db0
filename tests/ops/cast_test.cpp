// cast: cases, dtypes of values and gradients, errors.
#include "tandem/ops/cast.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/ops/reference/cast.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"

namespace tandem::testing {
namespace {

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

TEST_CASE("cast: integers and undefined tensors are refused") {
  CHECK(contains(error_of([] { cast(zeros({2}, DType::i32), DType::f32); }),
                 "cast: from i32 (2) on cpu to f32"));
  CHECK(
      contains(error_of([] { cast(zeros({2}, DType::f32), DType::i64); }), "to i64; both must be floating"));
  CHECK(contains(error_of([] { cast(Tensor(), DType::f32); }), "cast: from undefined tensor to f32"));
}

}  // namespace
}  // namespace tandem::testing
