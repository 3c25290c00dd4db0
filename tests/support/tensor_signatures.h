// The signatures of the tensor's own functions and of the tape, for ops/misuse_test.cpp.
#pragma once
#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/print.h"
#include "tandem/core/random.h"
#include "tests/support/signatures.h"

namespace tandem::testing {

// Adds a row for a function of one tensor, (2, 3) if not said otherwise, called `argument` in its messages, and of numbers.
inline void add_tensor_signature(const std::string& function, const std::string& argument,
                                 std::function<Tensors(const Tensor&, const Numbers&)> f,
                                 std::vector<NumberArgument> numbers = {}, Sizes sizes = {2, 3}) {
  add_signature({.op = "tensor",
                 .function = function,
                 .sizes = std::move(sizes),
                 .tensors = [argument](const Sizes& n) -> TensorArguments {
                   return {{argument, {n[0], n[1]}}};
                 },
                 .call = [f](const Tensors& x, const Numbers& n) -> Tensors { return f(x[0], n); },
                 .numbers = std::move(numbers)});
}

// Adds a row for a function that writes y from x.
inline void add_writing_signature(const std::string& function,
                                  std::function<void(const Tensor&, const Tensor&)> f) {
  add_signature({.op = "tensor",
                 .function = function,
                 .sizes = {2, 3},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"y", {n[0], n[1]}}, {"x", {n[0], n[1]}}};
                 },
                 .call = [f](const Tensors& x, const Numbers&) -> Tensors {
                   f(x[0].defined() ? x[0].clone() : x[0], x[1]);
                   return {};
                 }});
}

inline void add_tensor_signatures() {
  using N = Numbers;
  // The members say "this tensor" where it is undefined, and show it where it is not what they need.
  const auto member = [](const std::string& name, std::function<Tensors(const Tensor&, const N&)> f,
                         std::vector<NumberArgument> numbers = {}, Sizes sizes = {2, 3}) {
    add_tensor_signature("Tensor::" + name, "tensor", std::move(f), std::move(numbers), std::move(sizes));
  };
  member("shape",
         [](const Tensor& x, const N&) -> Tensors { return x.shape().rank() < 7 ? Tensors{} : Tensors{x}; });
  member("numel",
         [](const Tensor& x, const N&) -> Tensors { return x.numel() >= 0 ? Tensors{} : Tensors{x}; });
  member("dtype", [](const Tensor& x, const N&) -> Tensors {
    return x.dtype() <= DType::u8 ? Tensors{} : Tensors{x};
  });
  member("device",
         [](const Tensor& x, const N&) -> Tensors { return x.device().is_cpu() ? Tensors{} : Tensors{}; });
  member("detach", [](const Tensor& x, const N&) -> Tensors { return {x.detach()}; });
  member("clone", [](const Tensor& x, const N&) -> Tensors { return {x.clone()}; });
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i32, DType::u8})
    member("to", [dtype](const Tensor& x, const N&) -> Tensors { return {x.to(dtype)}; });
  member("raw", [](const Tensor& x, const N&) -> Tensors { return x.raw() ? Tensors{} : Tensors{x}; });
  member("size",
         [](const Tensor& x, const N& n) -> Tensors {
           return x.size(static_cast<int>(n[0])) < 0 ? Tensors{x} : Tensors{};
         },
         {{"axis", -1, {-2, -3, 0, 1, 2, 1000000, -1000000}}});
  member("view_rows",
         [](const Tensor& x, const N& n) -> Tensors {
           return {x.view_rows(static_cast<int64_t>(n[0]), static_cast<int64_t>(n[1]))};
         },
         {{"rows", 0, {-1, 1, 2, 3, 1e18}}, {"rows", 0, {-1, 1, 2, 3, 1e18}}});
  member(
      "view_as",
      [](const Tensor& x, const N& n) -> Tensors { return {x.view_as(Shape{static_cast<int64_t>(n[0])})}; },
      {{"shape", 6, {0, 1, 5, 7, 4e18}}});
  member("item", [](const Tensor& x, const N&) -> Tensors { return x.item() < 1 ? Tensors{} : Tensors{}; },
         {}, {1, 1});
  member("data",
         [](const Tensor& x, const N&) -> Tensors { return x.data<float>() ? Tensors{} : Tensors{x}; });
  add_tensor_signature("empty_like", "x",
                       [](const Tensor& x, const N&) -> Tensors { return {empty_like(x)}; });
  add_tensor_signature("zeros_like", "x",
                       [](const Tensor& x, const N&) -> Tensors { return {zeros_like(x)}; });
  add_tensor_signature("all_finite", "x", [](const Tensor& x, const N&) -> Tensors {
    return all_finite(x) ? Tensors{} : Tensors{};
  });
  add_tensor_signature("requires_grad", "x",
                       [](const Tensor& x, const N&) -> Tensors { return {requires_grad(x)}; });
  add_tensor_signature("grad", "leaf", [](const Tensor& x, const N&) -> Tensors {
    return {grad(x.defined() && is_floating(x.dtype()) ? requires_grad(x) : x)};
  });
  add_tensor_signature("zero_grad", "leaf", [](const Tensor& x, const N&) -> Tensors {
    zero_grad(x.defined() && is_floating(x.dtype()) ? requires_grad(x) : x);
    return {};
  });
  add_tensor_signature("fill", "y",
                       [](const Tensor& x, const N& n) -> Tensors {
                         fill(x.defined() ? x.clone() : x, n[0]);
                         return {};
                       },
                       {{"value", 1, {0, -1, 200, 0.5}}});
  add_tensor_signature("fill_uniform", "y",
                       [](const Tensor& x, const N& n) -> Tensors {
                         Random(1).fill_uniform(x.defined() ? x.clone() : x, n[0], n[1]);
                         return {};
                       },
                       {{"low", 0, {1, 2, -HUGE_VAL}}, {"high", 1, {0, -1, HUGE_VAL}}});
  add_tensor_signature("fill_normal", "y",
                       [](const Tensor& x, const N& n) -> Tensors {
                         Random(1).fill_normal(x.defined() ? x.clone() : x, n[0], n[1]);
                         return {};
                       },
                       {{"mean", 0, {1, HUGE_VAL}}, {"deviation", 1, {0, -1, HUGE_VAL}}});
  add_writing_signature("copy", [](const Tensor& y, const Tensor& x) { copy(y, x); });
  add_writing_signature("add_in_place", [](const Tensor& y, const Tensor& x) { add_in_place(y, x); });
  add_signature({.op = "tensor",
                 .function = "tensor_of",
                 .call = [](const Tensors&, const N& n) -> Tensors {
                   return {tensor_of<float>({static_cast<int64_t>(n[0])}, std::vector<float>(2))};
                 },
                 .numbers = {{"shape", 2, {0, 1, 3, 1e18}}}});
}

}  // namespace tandem::testing
