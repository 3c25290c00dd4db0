// slice and split: cases, shared memory, gradients of leaves and of results, errors.
#include "tandem/ops/slice.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/reference/slice.h"
#include "tests/support/op_cases.h"

namespace tandem::testing {
namespace {

OP_CASES(slice) {
  for (const auto& [shape, begin, end] : {std::tuple{Shape{1}, 0, 1},
                                          {Shape{3}, 1, 2},
                                          {Shape{33, 5}, 7, 33},
                                          {Shape{65, 3, 2}, 0, 64},
                                          {Shape{4, 3}, 2, 2}})
    add_op_case(
        {.op = "slice",
         .name = "rows " + std::to_string(begin) + ".." + std::to_string(end) + " of " + shape.str(),
         .inputs = [shape = shape](DType dtype, uint64_t seed) -> Tensors {
           return {random_tensor(shape, dtype, seed)};
         },
         .run = [begin = begin, end = end](const Tensors& x) -> Tensors { return {slice(x[0], begin, end)}; },
         .reference = [begin = begin, end = end](const Tensors& x) -> Tensors {
           return {reference::slice(x[0], begin, end)};
         }});
  add_op_case(
      {.op = "slice",
       .name = "overlapping slices of one tensor",
       .inputs = [](DType dtype, uint64_t seed) -> Tensors {
         return {random_tensor({9, 3}, dtype, seed)};
       },
       .run = [](const Tensors& x) -> Tensors {
         return {slice(x[0], 0, 5), slice(x[0], 3, 9), slice(x[0], 8, 9)};
       },
       .reference = [](const Tensors& x) -> Tensors {
         return {reference::slice(x[0], 0, 5), reference::slice(x[0], 3, 9), reference::slice(x[0], 8, 9)};
       }});
  add_op_case({.op = "slice",
               .name = "split",
               .inputs = [](DType dtype, uint64_t seed) -> Tensors {
                 return {random_tensor({9, 3}, dtype, seed)};
               },
               .run = [](const Tensors& x) -> Tensors {
                 return split(x[0], {2, 0, 6, 1});
               },
               .reference = [](const Tensors& x) -> Tensors {
                 return {reference::slice(x[0], 0, 2), reference::slice(x[0], 2, 2),
                         reference::slice(x[0], 2, 8), reference::slice(x[0], 8, 9)};
               }});
}

TEST_CASE("slice: the result is a view") {
  const Tensor x = zeros({4, 2}, DType::f32);
  const Tensor y = slice(x, 1, 3);
  CHECK(y.data<float>() == x.data<float>() + 2);
  CHECK(split(x, {1, 3})[1].data<float>() == x.data<float>() + 2);
}

TEST_CASE("slice: unused parts of a split have a zero gradient") {
  const Tensor x = requires_grad(full({5}, 1, DType::f64));
  Tape tape;
  const std::vector<Tensor> parts = split(x, {2, 1, 2});
  tape.backward(sum(parts[1] * 3.0));
  CHECK(grad(x).to_vector<double>() == std::vector<double>{0, 0, 3, 0, 0});
}

TEST_CASE("slice: errors") {
  const Tensor x = zeros({4, 2}, DType::f32);
  CHECK_THROWS_WITH_AS(slice(x, 2, 5), "slice: rows 2 to 5 of (4, 2) do not exist; it has 0 to 4", Error);
  CHECK_THROWS_WITH_AS(slice(x, 3, 2), "slice: rows 3 to 2 of (4, 2) do not exist; it has 0 to 4", Error);
  CHECK_THROWS_WITH_AS(slice(x, -1, 2), "slice: rows -1 to 2 of (4, 2) do not exist; it has 0 to 4", Error);
  CHECK_THROWS_WITH_AS(slice(zeros({}, DType::f32), 0, 1), "slice: f32 () on cpu has no axis to cut", Error);
  CHECK_THROWS_WITH_AS(split(zeros({}, DType::f32), {1}), "split: f32 () on cpu has no axis to cut", Error);
  CHECK_THROWS_WITH_AS(split(x, {2, 3}), "split: (2, 3) is 5 rows, but (4, 2) has 4", Error);
  CHECK_THROWS_WITH_AS(split(x, {-1, 5}), "split: negative number of rows in (-1, 5)", Error);
}

}  // namespace
}  // namespace tandem::testing
