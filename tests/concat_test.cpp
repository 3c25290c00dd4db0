// concat: cases, gradients as views, inputs that are undefined, errors.
#include "ops/concat.h"

#include <doctest/doctest.h>

#include "autograd/tape.h"
#include "tests/op_cases.h"

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
                 .reference = [](const Tensors& xs) -> Tensors {
                   std::vector<double> values;
                   for (const Tensor& x : xs)
                     values.insert(values.end(), x.span<double>().begin(), x.span<double>().end());
                   return {tensor_of<double>({static_cast<int64_t>(values.size()) / 6, 3, 2}, values)};
                 }});
  add_op_case({.op = "concat",
               .name = "a tensor with itself, and undefined ones",
               .inputs = [](DType dtype, uint64_t seed) -> Tensors {
                 return {random_tensor({2, 3}, dtype, seed)};
               },
               .run = [](const Tensors& x) -> Tensors {
                 return {concat({x[0], Tensor(), x[0]})};
               },
               .reference = [](const Tensors& x) -> Tensors {
                 return {tensor_from({4, 3}, [&x](int64_t i) { return x[0].data<double>()[i % 6]; })};
               }});
}

TEST_CASE("concat: a copy, of constants and of what needs a gradient") {
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
      "concat: input 1 is f32 (1, 3) on cpu, input 0 is f32 (1, 2) on cpu; all but the leading sizes "
      "must agree",
      Error);
  CHECK_THROWS_WITH_AS(
      concat({zeros({1}, DType::f32), zeros({1}, DType::f64)}),
      "concat: input 1 is f64 (1) on cpu, input 0 is f32 (1) on cpu; all but the leading sizes must "
      "agree",
      Error);
  CHECK_THROWS_WITH_AS(concat({zeros({}, DType::f32)}),
                       "concat: input 0 is f32 () on cpu, which has no axis to join along", Error);
}

}  // namespace
}  // namespace tandem::testing
