// concat: cases, gradients as views, inputs that are undefined, errors.
#include "tandem/ops/concat.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/ops/reference/concat.h"
#include "tests/support/op_cases.h"

namespace tandem::testing {
namespace {

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

TEST_CASE("concat_columns: a tensor joined with itself gets both gradients") {
  const Tensor x = requires_grad(tensor_of<double>({2, 1}, {1, 2}));
  Tape tape;
  const Tensor y = concat_columns({x, x});
  CHECK(y.to_vector<double>() == std::vector<double>{1, 1, 2, 2});
  tape.backward({y}, {tensor_of<double>({2, 2}, {1, 2, 3, 4})});
  CHECK(grad(x).to_vector<double>() == std::vector<double>{3, 7});
}

TEST_CASE("concat_columns: errors") {
  CHECK_THROWS_WITH_AS(concat_columns({}), "concat_columns: no tensor is given", Error);
  CHECK_THROWS_WITH_AS(concat_columns({zeros({2, 1}, DType::f32), zeros({3, 1}, DType::f32)}),
                       "concat_columns: input 1 is f32 (3, 1) on cpu, input 0 is f32 (2, 1) on cpu; all but "
                       "the last sizes must agree",
                       Error);
  CHECK_THROWS_WITH_AS(concat_columns({zeros({2}, DType::i32)}),
                       "concat_columns: dtype i32 is not supported on the CPU; use f32 or f64", Error);
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
  CHECK_THROWS_WITH_AS(concat({Tensor()}), "concat: none of the 1 tensors is defined", Error);
  CHECK_THROWS_WITH_AS(
      concat({zeros({1, 2}, DType::f32), zeros({1, 3}, DType::f32)}),
      "concat: input 1 is f32 (1, 3) on cpu, input 0 is f32 (1, 2) on cpu; all but the leading sizes must agree",
      Error);
  CHECK_THROWS_WITH_AS(
      concat({zeros({1}, DType::f32), zeros({1}, DType::f64)}),
      "concat: input 1 is f64 (1) on cpu, input 0 is f32 (1) on cpu; all but the leading sizes must agree",
      Error);
  CHECK_THROWS_WITH_AS(concat({zeros({}, DType::f32)}),
                       "concat: input 0 is f32 () on cpu, which has no axis to join along", Error);
}

}  // namespace
}  // namespace tandem::testing
