// concat: cases, gradients as views, inputs that are undefined, errors.
#include "tandem/ops/concat.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/ops/reference/concat.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

SIGNATURES(concat) {
  add_signature({.op = "concat",
                 .function = "concat",
                 .sizes = {2, 3},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"xs", {n[0], n[1]}, DType::f32, true}, {"xs", {n[0], n[1]}, DType::f32, true}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors {
                   return {concat({x[0], x[1]})};
                 }});
  add_signature({.op = "concat",
                 .function = "concat_columns",
                 .sizes = {2, 3},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"xs", {n[0], n[1]}}, {"xs", {n[0], n[1]}}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors {
                   return {concat_columns({x[0], x[1]})};
                 }});
  add_signature({.op = "concat",
                 .function = "stack",
                 .sizes = {2, 3},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"xs", {n[0], n[1]}}, {"xs", {n[0], n[1]}}};
                 },
                 .call = [](const Tensors& x, const Numbers& n) -> Tensors {
                   return {stack({x[0], x[1]}, static_cast<int>(n[0]))};
                 },
                 .numbers = {{"axis", 0, {-4, -3, -1, 1, 2, 3, 1e6}}}});
}

OP_CASES(concat) {
  for (const std::vector<int64_t>& rows : {std::vector<int64_t>{1}, {3, 33}, {65, 0, 1, 5}})
    add_op_case({.op = "concat",
                 .name = std::to_string(rows.size()) + " inputs",
                 .inputs = [rows](DType dtype, uint64_t seed) -> Tensors {
                   Tensors xs;
                   for (const int64_t n : rows) xs.push_back(random_tensor({n, 3, 2}, dtype, seed++));
                   return xs;
                 },
                 .run = [](const Tensors& x) -> Tensors { return {concat(x)}; },
                 .reference = [](const Tensors& xs) -> Tensors { return {reference::concat(xs)}; }});
  add_op_case({.op = "concat",
               .name = "a tensor with itself, and undefined ones",
               .inputs = [](DType dtype, uint64_t seed) -> Tensors {
                 return {random_tensor({2, 3}, dtype, seed)};
               },
               .run = [](const Tensors& x) -> Tensors {
                 return {concat({x[0], Tensor(), x[0]})};
               },
               .reference = [](const Tensors& x) -> Tensors {
                 return {reference::concat({x[0], x[0]})};
               }});
}

// Returns a case of tensors of these widths, in 15 rows.
OpCase columns_case(const std::vector<int64_t>& widths) {
  return {.op = "concat",
          .name = "columns, " + std::to_string(widths.size()) + " inputs from " + std::to_string(widths[0]),
          .inputs = [widths](DType dtype, uint64_t seed) -> Tensors {
            Tensors xs;
            for (const int64_t n : widths) xs.push_back(random_tensor({5, 3, n}, dtype, seed++));
            return xs;
          },
          .run = [](const Tensors& x) -> Tensors { return {concat_columns(x)}; },
          .reference = [](const Tensors& xs) -> Tensors { return {reference::concat_columns(xs)}; }};
}

OP_CASES(concat_columns) {
  for (const std::vector<int64_t>& widths : {std::vector<int64_t>{1}, {3, 33}, {65, 1, 8}, {24, 64}})
    add_op_case(columns_case(widths));
}

OP_CASES(stack) {
  for (const int axis : {0, 1, 2, -1})
    add_op_case({.op = "concat",
                 .name = "stack along axis " + std::to_string(axis),
                 .inputs = [](DType dtype, uint64_t seed) -> Tensors {
                   return {random_tensor({3, 33}, dtype, seed), random_tensor({3, 33}, dtype, seed + 1)};
                 },
                 .run = [axis](const Tensors& x) -> Tensors { return {stack(x, axis)}; },
                 .reference = [axis](const Tensors& x) -> Tensors {
                   return {axis == 0 ? reference::concat(x).view_as({2, 3, 33})
                           : axis == 1
                               ? reference::concat_columns(x).view_as({3, 2, 33})
                               : reference::concat_columns({x[0].view_as({99, 1}), x[1].view_as({99, 1})})
                                     .view_as({3, 33, 2})};
                 }});
}

TEST_CASE("stack: scalars and ids, and errors") {
  CHECK(stack({full({}, 2, DType::f32), full({}, 3, DType::f32)}).to_vector<float>() ==
        std::vector<float>{2, 3});
  const Tensor ids = stack({tensor_of({2}, {1, 2}), tensor_of({2}, {3, 4})});
  CHECK(ids.shape() == Shape{2, 2});
  CHECK(ids.to_vector<int32_t>() == std::vector<int32_t>{1, 2, 3, 4});
  const Tensor x = zeros({2, 3}, DType::f32);
  CHECK_THROWS_WITH_AS(stack({}), "stack: xs is empty; give at least one tensor", Error);
  CHECK_THROWS_WITH_AS(stack({x, zeros({3, 2}, DType::f32)}),
                       "stack: xs[1] is f32 (3, 2) on cpu, xs[0] is f32 (2, 3) on cpu; they must agree",
                       Error);
  CHECK_THROWS_WITH_AS(
      stack({x}, 3),
      "stack: axis 3, but the result for xs[0], f32 (2, 3) on cpu, has axes -3 to 2, and at most 6 of them",
      Error);
  CHECK_THROWS_AS(stack({x, Tensor()}), Error);
  CHECK_THROWS_AS(stack({zeros({1, 1, 1, 1, 1, 1}, DType::f32)}), Error);
}

TEST_CASE("concat_columns: a tensor joined with itself gets both gradients") {
  const Tensor x = requires_grad(tensor_of<double>({2, 1}, {1, 2}));
  Tape tape;
  const Tensor y = concat_columns({x, x});
  CHECK(y.to_vector<double>() == std::vector<double>{1, 1, 2, 2});
  tape.backward({y}, {tensor_of<double>({2, 2}, {1, 2, 3, 4})});
  CHECK(grad(x).to_vector<double>() == std::vector<double>{3, 7});
}

TEST_CASE("concat_columns: errors") {
  CHECK_THROWS_WITH_AS(concat_columns({}), "concat_columns: xs is empty; give at least one tensor", Error);
  CHECK_THROWS_WITH_AS(concat_columns({zeros({2, 1}, DType::f32), zeros({3, 1}, DType::f32)}),
                       "concat_columns: xs[1] is f32 (3, 1) on cpu, xs[0] is f32 (2, 1) on cpu; all but "
                       "the last sizes must agree",
                       Error);
  CHECK_THROWS_WITH_AS(concat_columns({zeros({2}, DType::i32)}),
                       "concat_columns: xs is i32 (2) on cpu; its dtype must be f32 or f64 on the CPU",
                       Error);
}

TEST_CASE("concat: constants and leaves can be mixed") {
  const Tensor constant = full({1, 2}, 1, DType::f64);
  const Tensor x = requires_grad(full({2, 2}, 2, DType::f64));
  Tape tape;
  const Tensor y = concat({constant, x});
  CHECK(y.to_vector<double>() == std::vector<double>{1, 1, 2, 2, 2, 2});
  tape.backward({y}, {tensor_of<double>({3, 2}, {1, 2, 3, 4, 5, 6})});
  CHECK(grad(x).to_vector<double>() == std::vector<double>{3, 4, 5, 6});
}

TEST_CASE("concat: errors") {
  CHECK_THROWS_WITH_AS(concat({Tensor()}), "concat: none of the 1 tensors in xs is defined", Error);
  CHECK_THROWS_WITH_AS(
      concat({zeros({1, 2}, DType::f32), zeros({1, 3}, DType::f32)}),
      "concat: xs[1] is f32 (1, 3) on cpu, the first is f32 (1, 2) on cpu; all but the leading sizes must agree",
      Error);
  CHECK_THROWS_WITH_AS(
      concat({zeros({1}, DType::f32), zeros({1}, DType::f64)}),
      "concat: xs[1] is f64 (1) on cpu, the first is f32 (1) on cpu; all but the leading sizes must agree",
      Error);
  CHECK_THROWS_WITH_AS(  // the index counts undefined tensors, too
      concat({Tensor(), zeros({1, 2}, DType::f32), Tensor(), zeros({1, 3}, DType::f32)}),
      "concat: xs[3] is f32 (1, 3) on cpu, the first is f32 (1, 2) on cpu; all but the leading sizes must agree",
      Error);
  CHECK_THROWS_WITH_AS(concat({zeros({}, DType::f32)}),
                       "concat: xs[0] is f32 () on cpu, which has no axis to join along", Error);
}

}  // namespace
}  // namespace tandem::testing
