// embedding: cases, accumulation over repeated ids, errors that name the id.
#include "ops/embedding.h"

#include <doctest/doctest.h>

#include "autograd/tape.h"
#include "tests/op_cases.h"

namespace tandem::testing {
namespace {

OP_CASES(embedding) {
  for (const auto& [shape, count, width] : {std::tuple{Shape{}, 1, 1},
                                            {Shape{3}, 5, 33},
                                            {Shape{33, 3}, 7, 65},
                                            {Shape{0, 3}, 7, 65},
                                            {Shape{40, 5}, 65, 300}})
    add_op_case(
        {.op = "embedding",
         .name = "ids " + shape.str() + ", table " + Shape{count, width}.str(),
         .inputs = [shape = shape, count = count, width = width](DType dtype, uint64_t seed) -> Tensors {
           return {random_ids(shape, count, seed), random_tensor({count, width}, dtype, seed)};
         },
         .run = [](const Tensors& x) -> Tensors { return {embedding(x[0], x[1])}; },
         .reference = [](const Tensors& x) -> Tensors {
           std::vector<int64_t> sizes(x[0].shape().begin(), x[0].shape().end());
           const int64_t width = x[1].size(1);
           sizes.push_back(width);
           return {tensor_from(Shape(std::span<const int64_t>(sizes)), [&x, width](int64_t i) {
             return x[1].data<double>()[x[0].data<int32_t>()[i / width] * width + i % width];
           })};
         }});
}

TEST_CASE("embedding: the gradient of a row is the sum over its ids, and zero where there is none") {
  const Tensor table = requires_grad(zeros({4, 1}, DType::f64));
  const Tensor ids = tensor_of<int32_t>({2, 2}, {3, 1, 3, 3});
  for (int pass = 1; pass <= 2; ++pass) {
    Tape tape;
    const Tensor y = embedding(ids, table);
    CHECK(y.shape() == Shape{2, 2, 1});
    tape.backward({y}, {tensor_of<double>({2, 2, 1}, {1, 2, 10, 100})});
    CHECK(grad(table).to_vector<double>() == std::vector<double>{0, 2.0 * pass, 0, 111.0 * pass});
  }
}

TEST_CASE("embedding: errors") {
  const Tensor table = zeros({5, 2}, DType::f32);
  CHECK_THROWS_WITH_AS(
      embedding(tensor_of<int32_t>({2, 3}, {0, 1, 2, 3, 4, 5}), table),
      "embedding: ids: 5 at position (1, 2) of (2, 3) is outside 0..4; does the vocabulary fit the model?",
      Error);
  CHECK_THROWS_WITH_AS(
      embedding(tensor_of<int32_t>({1}, {-1}), table),
      "embedding: ids: -1 at position (0) of (1) is outside 0..4; does the vocabulary fit the model?", Error);
  CHECK_THROWS_WITH_AS(embedding(zeros({2}, DType::i64), table),
                       "embedding: ids are i64 (2) on cpu; they must be i32", Error);
  CHECK_THROWS_WITH_AS(embedding(zeros({2}, DType::i32), zeros({5}, DType::f32)),
                       "embedding: table is f32 (5) on cpu; it must be floating (V, D)", Error);
  CHECK_THROWS_WITH_AS(embedding(zeros({1, 1, 1, 1, 1, 1}, DType::i32), table),
                       "embedding: ids (1, 1, 1, 1, 1, 1) have 6 axes; the result would have more than 6",
                       Error);
}

}  // namespace
}  // namespace tandem::testing
