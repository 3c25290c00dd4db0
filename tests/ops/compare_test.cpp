// compare: every comparison of every dtype, NaN, numbers; where: cases, dtypes of the condition, errors.
#include "tandem/ops/compare.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/ops/reference/compare.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

constexpr Comparison kKinds[] = {Comparison::equal,         Comparison::not_equal, Comparison::greater,
                                 Comparison::greater_equal, Comparison::less,      Comparison::less_equal};

// Small whole numbers, so that many of them are equal.
Tensor whole_numbers(Shape shape, DType dtype, uint64_t seed) {
  return random_ids(shape, 4, seed).to(dtype);
}

// Calls the function of this kind. B is a Tensor or a number.
template <class B>
Tensor by_name(Comparison kind, const Tensor& a, const B& b) {
  switch (kind) {
    case Comparison::equal:
      return equal(a, b);
    case Comparison::not_equal:
      return not_equal(a, b);
    case Comparison::greater:
      return greater(a, b);
    case Comparison::greater_equal:
      return greater_equal(a, b);
    case Comparison::less:
      return less(a, b);
    case Comparison::less_equal:
      return less_equal(a, b);
  }
  return {};
}

// Adds the rows of a comparison: of a with b, and of a with a number.
void add_comparison(const std::string& name, Comparison kind) {
  add_signature(
      {.op = "compare",
       .function = name,
       .sizes = {3, 5},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"a", {n[0], n[1]}}, {"b", {n[1]}}};
       },
       .call = [kind](const Tensors& x, const Numbers&) -> Tensors { return {by_name(kind, x[0], x[1])}; }});
  add_signature(
      {.op = "compare",
       .function = name,
       .sizes = {3, 5},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"a", {n[0], n[1]}}};
       },
       .call = [kind](const Tensors& x, const Numbers& n) -> Tensors { return {by_name(kind, x[0], n[0])}; },
       .numbers = {{"number", 2, {0, NAN, HUGE_VAL}}}});
}

SIGNATURES(compare) {
  add_comparison("equal", Comparison::equal);
  add_comparison("not_equal", Comparison::not_equal);
  add_comparison("greater", Comparison::greater);
  add_comparison("greater_equal", Comparison::greater_equal);
  add_comparison("less", Comparison::less);
  add_comparison("less_equal", Comparison::less_equal);
  add_signature({.op = "compare",
                 .function = "compare",
                 .says = "less",
                 .sizes = {3, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"a", {n[0], n[1]}}, {"b", {n[1]}}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors {
                   return {compare(x[0], x[1], Comparison::less)};
                 }});
  add_signature(
      {.op = "compare",
       .function = "where",
       .sizes = {3, 5},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"condition", {n[0], n[1]}, DType::i32}, {"a", {n[0], n[1]}}, {"b", {n[0], n[1]}}};
       },
       .call = [](const Tensors& x, const Numbers&) -> Tensors { return {where(x[0], x[1], x[2])}; }});
  add_signature(
      {.op = "compare",
       .function = "where",
       .sizes = {3, 5},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"condition", {n[0], n[1]}, DType::i32}, {"a", {n[0], n[1]}}};
       },
       .call = [](const Tensors& x, const Numbers& n) -> Tensors { return {where(x[0], x[1], n[0])}; },
       .numbers = {{"number", 2, {0, NAN, HUGE_VAL}}}});
}

OP_CASES(compare) {
  for (const auto& [a, b] :
       {std::pair<Shape, Shape>{{}, {}}, {{33, 65}, {33, 65}}, {{33, 65}, {65}}, {{70000}, {}}})
    add_op_case({.op = "compare",
                 .name = "all kinds " + a.str() + " " + b.str(),
                 .inputs = [a = a, b = b](DType dtype, uint64_t seed) -> Tensors {
                   return {whole_numbers(a, dtype, seed), whole_numbers(b, dtype, seed + 1)};
                 },
                 .run = [](const Tensors& x) -> Tensors {
                   Tensors ys;
                   for (const Comparison kind : kKinds) ys.push_back(compare(x[0], x[1], kind));
                   return ys;
                 },
                 .reference = [](const Tensors& x) -> Tensors {
                   Tensors ys;
                   for (const Comparison kind : kKinds) ys.push_back(reference::compare(x[0], x[1], kind));
                   return ys;
                 },
                 .differentiable = false});
  for (const Shape& shape : {Shape{}, Shape{3}, Shape{33, 65}, Shape{70000}}) {
    add_op_case({.op = "compare",
                 .name = "where " + shape.str(),
                 .inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
                   return {random_ids(shape, 2, seed), random_tensor(shape, dtype, seed + 1),
                           random_tensor(shape, dtype, seed + 2)};
                 },
                 .run = [](const Tensors& x) -> Tensors { return {where(x[0], x[1], x[2])}; },
                 .reference = [](const Tensors& x) -> Tensors {
                   return {reference::where(x[0].to(DType::f64), x[1], x[2])};
                 }});
    add_op_case({.op = "compare",
                 .name = "where, or a number " + shape.str(),
                 .inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
                   return {random_ids(shape, 2, seed), random_tensor(shape, dtype, seed + 1)};
                 },
                 .run = [](const Tensors& x) -> Tensors { return {where(x[0], x[1], -2.5)}; },
                 .reference = [](const Tensors& x) -> Tensors {
                   return {reference::where(x[0].to(DType::f64), x[1], full(x[1].shape(), -2.5, DType::f64))};
                 }});
  }
}

std::vector<double> list(const Tensor& x) {
  return x.to(Device::cpu()).to(DType::f64).to_vector<double>();
}

TEST_CASE("compare: the result is in the dtype of the operands, whatever that is") {
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i32, DType::i64, DType::u8}) {
      CAPTURE(std::string(name_of(dtype)));
      const Tensor x = tensor_of({4}, {3, 1, 2, 0}).to(dtype).to(device);
      const Tensor two = full({4}, 2, dtype, device);
      CHECK(greater(x, two).dtype() == dtype);
      CHECK(list(equal(x, two)) == std::vector<double>{0, 0, 1, 0});
      CHECK(list(not_equal(x, two)) == std::vector<double>{1, 1, 0, 1});
      CHECK(list(greater(x, 2)) == std::vector<double>{1, 0, 0, 0});
      CHECK(list(greater_equal(x, 2)) == std::vector<double>{1, 0, 1, 0});
      CHECK(list(less(x, two)) == std::vector<double>{0, 1, 0, 1});
      CHECK(list(less_equal(x, 1.5)) == std::vector<double>{0, 1, 0, 1});
      CHECK(list(where(equal(x, 0), full({4}, 5, DType::f32, device), zeros({4}, DType::f32, device))) ==
            std::vector<double>{0, 0, 0, 5});
    }
}

TEST_CASE("compare: NaN, numbers that a dtype cannot hold, and large integers") {
  for (const Device device : test_devices()) {
    const Tensor x = tensor_of({3}, {std::nanf(""), 0.1f, INFINITY}).to(device);
    CHECK(list(equal(x, x)) == std::vector<double>{0, 1, 1});
    CHECK(list(not_equal(x, x)) == std::vector<double>{1, 0, 0});
    CHECK(list(equal(x, 0.1)) == std::vector<double>{0, 1, 0});
    CHECK(list(less(x, std::nan(""))) == std::vector<double>{0, 0, 0});
    CHECK(list(equal(x.to(DType::bf16), 0.1)) == std::vector<double>{0, 1, 0});
    const Tensor ids = tensor_of({2}, {16777216, 16777217}).to(device);  // one number, as f32
    CHECK(list(equal(ids, full({2}, 16777217, DType::i32, device))) == std::vector<double>{0, 1});
    CHECK(list(greater(ids, 16777216.5)) == std::vector<double>{0, 1});
  }
  CHECK(greater(zeros({0, 3}, DType::f32), zeros({3}, DType::f32)).numel() == 0);
}

TEST_CASE("where: NaN that is not chosen reaches neither the result nor the gradient") {
  const Tensor x = requires_grad(tensor_of({2}, {-1.0, 4.0}));
  Tape tape;
  const Tensor y = where(greater(x, 0), x, 0.0);
  tape.backward({y}, {tensor_of({2}, {std::nan(""), 1.0})});
  CHECK(list(y) == std::vector<double>{0, 4});
  CHECK(list(grad(x)) == std::vector<double>{0, 1});
}

TEST_CASE("compare: errors") {
  const Tensor x = zeros({2, 3}, DType::f32);
  CHECK(error_of([&] { greater(x, zeros({2}, DType::f32)); }) ==
        "greater: shapes do not fit: a is (2, 3), b is (2); b's must be a's or the end of a's");
  CHECK(
      error_of([&] {
        equal(x, zeros({2, 3}, DType::i32));
      }) ==
      "equal: a is f32 (2, 3) on cpu, b is i32 (2, 3) on cpu; bring both to one dtype and device with .to()");
  CHECK(contains(error_of([&] { less(Tensor(), 2); }), "less: a is an undefined tensor"));
  CHECK(error_of([&] { where(zeros({3}, DType::f32), x, x); }) ==
        "where: condition is f32 (3) on cpu, a is f32 (2, 3) on cpu; they must have one shape and device");
  CHECK(error_of([&] {
          where(x, x, zeros({2, 3}, DType::f64));
        }) ==
        "where: a is f32 (2, 3) on cpu, b is f64 (2, 3) on cpu; they must have one shape, dtype and device");
  CHECK(contains(error_of([&] {
                   where(x, zeros({2, 3}, DType::i32), 1);
                 }),
                 "where: a is i32 (2, 3) on cpu; its dtype"));
}

}  // namespace
}  // namespace tandem::testing
