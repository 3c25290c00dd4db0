// embedding: cases, accumulation over repeated ids, errors that name the id.
#include "tandem/ops/embedding.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/dispatch.h"
#include "tandem/ops/reference/embedding.h"
#include "tests/support/devices.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

SIGNATURES(embedding) {
  add_signature(
      {.op = "embedding",
       .function = "embedding",
       .sizes = {3, 7, 4},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"ids", {n[0]}, DType::i32}, {"table", {n[1], n[2]}}};
       },
       .call = [](const Tensors& x, const Numbers&) -> Tensors { return {embedding(x[0], x[1])}; }});
  add_signature({.op = "embedding",
                 .function = "embedding",
                 .sizes = {3, 7, 4},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"ids", {n[0]}, DType::i32}, {"table", {n[1], n[2]}}};
                 },
                 .call = [](const Tensors& x, const Numbers& n) -> Tensors {
                   return {embedding(x[0], x[1], static_cast<DType>(n[0]))};
                 },
                 .numbers = {{"table", 0, {1, 2, 3}}}});
}

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
         .reference = [](const Tensors& x) -> Tensors { return {reference::embedding(x[0], x[1])}; },
         .weights = {1}});
}

TEST_CASE("embedding: the gradient of a row is the sum over its ids, and zero where there is none") {
  for (const Device device : test_devices()) {
    const Tensor table = requires_grad(zeros({4, 1}, DType::f64, device));
    const Tensor ids = tensor_of<int32_t>({2, 2}, {3, 1, 3, 3}).to(device);
    for (int pass = 1; pass <= 2; ++pass) {
      Tape tape;
      const Tensor y = embedding(ids, table);
      CHECK(y.shape() == Shape{2, 2, 1});
      tape.backward({y}, {tensor_of<double>({2, 2, 1}, {1, 2, 10, 100}).to(device)});
      CHECK(grad(table).to_vector<double>() == std::vector<double>{0, 2.0 * pass, 0, 111.0 * pass});
    }
  }
}

// Returns random ids, of which every `every`-th is replaced by the middle one.
Tensor uneven_ids(int64_t tokens, int64_t count, int64_t every) {
  const Tensor ids = random_ids({tokens}, count, 5);
  for (int64_t i = 0; i < tokens; i += every) ids.data<int32_t>()[i] = static_cast<int32_t>(count / 2);
  return ids;
}

TEST_CASE("embedding: gradients for many tokens, with few and many ids and a frequent one") {
  struct Sizes {
    int64_t tokens, count, width, every;
  };
  for (const Device device : test_devices())
    for (const Sizes& n : {Sizes{700, 1, 5, 1},
                           {3001, 99, 40, 5},
                           {3001, 3, 33, 2},
                           {2500, 70'000, 3, 4},
                           {1100, 1'100'000, 1, 7},
                           {70'000, 30, 2, 5}}) {
      INFO(n.tokens, " tokens, table ", n.count, " x ", n.width, " on ", device.str());
      const Tensor table = requires_grad(zeros({n.count, n.width}, DType::f64, device));
      const Tensor ids = uneven_ids(n.tokens, n.count, n.every),
                   dy = random_tensor({n.tokens, n.width}, DType::f64, 8);
      Tape tape;
      tape.backward({embedding(ids.to(device), table)}, {dy.to(device)});
      const Tensor expected = zeros({n.count, n.width}, DType::f64);
      for (int64_t i = 0; i < dy.numel(); ++i) {
        const int64_t id = ids.data<int32_t>()[i / n.width];
        expected.data<double>()[id * n.width + i % n.width] += dy.data<double>()[i];
      }
      CHECK(relative_error(grad(table), expected) < 1e-13);
    }
}

TEST_CASE("embedding: on a GPU an f32 table gives bf16, and takes its gradient from it") {
  if (!has_cuda()) return;
  for (const int64_t width : {40, 33}) {
    const Tensor values = random_tensor({99, width}, DType::f32, 7);
    const Tensor ids = uneven_ids(500, 99, 5);
    const Tensor dy = random_tensor({500, width}, DType::bf16, 9);
    const Tensor table = requires_grad(values.to(Device::cuda()));
    Tape tape;
    const Tensor y = embedding(ids.to(Device::cuda()), table, DType::bf16);
    CHECK(y.dtype() == DType::bf16);
    CHECK(relative_error(y, embedding(ids, values).to(DType::bf16)) == 0);
    tape.backward({y}, {dy.to(Device::cuda())});
    CHECK(grad(table).dtype() == DType::f32);
    const Tensor exact = requires_grad(values.to(DType::f64));
    Tape again;
    again.backward({embedding(ids, exact)}, {dy.to(DType::f64)});
    CHECK(relative_error(grad(table), grad(exact)) < 1e-6);
  }
}

TEST_CASE("embedding: on a GPU an id outside the table gives NaN and no gradient") {
  if (!has_cuda()) return;
  for (const int64_t tokens : {8, 300}) {
    const Tensor ids({tokens}, DType::i32);
    for (int64_t i = 0; i < tokens; ++i) {
      const int32_t bad[] = {5, -1, 1 << 30};
      ids.data<int32_t>()[i] = i % 2 == 0 ? 4 : bad[i % 3];
    }
    const Tensor device_ids = ids.to(Device::cuda()),
                 ones = full({300, 8}, 1, DType::f32, Device::cuda()).view_rows(0, tokens);
    const std::vector<float> y = embedding(device_ids, ones.view_rows(0, 5)).to_vector<float>();
    for (int64_t i = 0; i < tokens * 8; ++i) REQUIRE(std::isnan(y[i]) == (i / 8 % 2 == 1));
    const Tensor rows =
        zeros({7, 8}, DType::f32, Device::cuda());  // 5 rows of the table, and memory after it
    if constexpr (kWithCuda) cuda::embedding_backward(rows.view_rows(0, 5), ones, device_ids, true);
    const std::vector<float> sums = rows.to_vector<float>();
    for (int64_t i = 0; i < 56; ++i) CHECK(sums[i] == (i / 8 == 4 ? static_cast<float>(tokens) / 2 : 0));
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
  CHECK_THROWS_WITH_AS(
      embedding(zeros({2}, DType::i32), table, DType::bf16),
      "embedding: table is f32 (5, 2) on cpu; on the CPU its rows come out in its own dtype, not as bf16",
      Error);
  CHECK_THROWS_WITH_AS(embedding(zeros({2}, DType::i32), table, DType::f64),
                       "embedding: table is f32 (5, 2) on cpu; rows of f64 come from one of f64", Error);
}

}  // namespace
}  // namespace tandem::testing
