// slice and split: cases, shared memory, gradients of leaves and of results, errors.
#include "tandem/ops/slice.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/reference/slice.h"
#include "tandem/ops/support/axis_split.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

SIGNATURES(slice) {
  add_unary_signature("slice", "slice",
                      [](const Tensor& x, const Numbers& n) {
                        return slice(x, static_cast<int64_t>(n[0]), static_cast<int64_t>(n[1]));
                      },
                      {{"rows", 0, {-1, 1, 2, 3, 1e18}}, {"rows", 2, {-1, 0, 1, 3, 1e18}}});
  add_unary_signature(
      "slice", "split",
      [](const Tensor& x, const Numbers& n) {
        return split(x, {static_cast<int64_t>(n[0]), static_cast<int64_t>(n[1])}, static_cast<int>(n[2]))[1];
      },
      {{"sizes", 1, {-1, 0, 2, 1e18, 9e18}},
       {"sizes", 1, {-1, 0, 2, 1e18, 9e18}},
       {"axis", 0, {-3, -2, -1, 1, 2, 1e6}}});
}

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

// Returns rows of x (outer, count, inner) along its middle axis.
Tensor reference_part(const Tensor& x, AxisSplit s, int64_t begin, int64_t count, Shape shape) {
  const double* in = x.data<double>();
  return tensor_from(shape, [in, s, begin, count](int64_t i) {
    const int64_t outer = i / (count * s.inner), at = i % (count * s.inner);
    return in[(outer * s.count + begin) * s.inner + at];
  });
}

OP_CASES(split) {
  for (const auto& [shape, axis, sizes] : {std::tuple{Shape{9, 7}, -1, std::vector<int64_t>{2, 0, 4, 1}},
                                           {Shape{5, 3, 33}, 2, {32, 1}},
                                           {Shape{5, 12, 3}, 1, {4, 8}},
                                           {Shape{2, 3, 4, 5}, -2, {1, 3}},
                                           {Shape{700, 129}, 1, {64, 65}}})
    add_op_case({.op = "slice",
                 .name = "split " + shape.str() + " along axis " + std::to_string(axis),
                 .inputs = [shape = shape](DType dtype, uint64_t seed) -> Tensors {
                   return {random_tensor(shape, dtype, seed)};
                 },
                 .run = [axis = axis, sizes = sizes](const Tensors& x) -> Tensors {
                   return split(x[0], sizes, axis);
                 },
                 .reference = [axis = axis, sizes = sizes](const Tensors& x) -> Tensors {
                   Tensors parts;
                   int64_t begin = 0;
                   for (const int64_t size : sizes) {
                     parts.push_back(reference_part(x[0], split_at(x[0].shape(), axis), begin, size,
                                                    x[0].shape().with(axis, size)));
                     begin += size;
                   }
                   return parts;
                 }});
}

TEST_CASE("split: along the last axis, parts that are not used have a zero gradient") {
  const Tensor x = requires_grad(full({2, 3}, 1, DType::f64));
  Tape tape;
  tape.backward(sum(split(x, {1, 2}, -1)[0] * 3.0));
  CHECK(grad(x).to_vector<double>() == std::vector<double>{3, 0, 0, 3, 0, 0});
  CHECK(split(zeros({3, 0}, DType::f32), {0, 0}, 1)[1].shape() == Shape{3, 0});
  CHECK_THROWS_WITH_AS(split(x, {1, 1}, 1), "split: sizes (1, 1) add up to 2, but axis 1 of x, (2, 3), has 3",
                       Error);
  CHECK_THROWS_WITH_AS(split(x, {3}, 2),
                       "split: x is f64 (2, 3) on cpu; it has no axis 2, its axes are -2 to 1", Error);
  CHECK_THROWS_AS(split(zeros({2, 2}, DType::i32), {1, 1}, 1), Error);
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
  CHECK_THROWS_WITH_AS(slice(x, 2, 5), "slice: x is (4, 2); rows 2 to 5 of it do not exist, it has 0 to 4",
                       Error);
  CHECK_THROWS_WITH_AS(slice(x, 3, 2), "slice: x is (4, 2); rows 3 to 2 of it do not exist, it has 0 to 4",
                       Error);
  CHECK_THROWS_WITH_AS(slice(x, -1, 2), "slice: x is (4, 2); rows -1 to 2 of it do not exist, it has 0 to 4",
                       Error);
  CHECK_THROWS_WITH_AS(slice(zeros({}, DType::f32), 0, 1),
                       "slice: x is f32 () on cpu, which has no axis to cut", Error);
  CHECK_THROWS_WITH_AS(split(zeros({}, DType::f32), {1}), "split: x is f32 () on cpu, which has no axis",
                       Error);
  CHECK_THROWS_WITH_AS(split(x, {2, 3}), "split: sizes (2, 3) add up to 5, but axis 0 of x, (4, 2), has 4",
                       Error);
  CHECK_THROWS_WITH_AS(split(x, {-1, 5}),
                       "split: sizes (-1, 5): -1 is negative or more than axis 0 of x, (4, 2), has", Error);
}

}  // namespace
}  // namespace tandem::testing
