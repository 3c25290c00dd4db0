// Puts the operator and the model of this project through the checks of Tandem's own, and shows that a wrong operator does
// not pass. No test framework is needed. Exits with 0 if all is as expected, else with 1.
#include <cmath>
#include <cstdio>

#include "snake.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/error.h"
#include "tandem/testing/check_model.h"
#include "tandem/testing/check_operator.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

int failures = 0;

void expect(bool ok, const std::string& what) {
  std::printf("%s %s\n", ok ? "ok    " : "FAILED", what.c_str());
  failures += !ok;
}

void expect_passed(const Report& report) {
  expect(report.ok(), report.text());
}

// Returns the message of the Error that f throws.
template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

OpCase snake_case(const Shape& shape) {
  return {.op = "snake",
          .name = shape.str(),
          .inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
            return {random_tensor(shape, dtype, seed, -2, 2),
                    random_tensor({shape[-1]}, dtype, seed + 1, 0.5, 2)};
          },
          .run = [](const Tensors& x) -> Tensors { return {prototype::snake(x[0], x[1])}; },
          .reference = [](const Tensors& in) -> Tensors {
            const double *x = in[0].data<double>(), *alpha = in[1].data<double>();
            return {tensor_from(in[0].shape(), [x, alpha, width = in[1].numel()](int64_t i) {
              return x[i] + std::pow(std::sin(alpha[i % width] * x[i]), 2) / alpha[i % width];
            })};
          }};
}

// Computes snake with a wrong backward, which forgets the 1 of dx = dy (1 + sin(2 alpha x)).
Tensor wrong_snake(const Tensor& x, const Tensor& alpha) {
  const Tensor y = prototype::snake(x.detach(), alpha.detach());
  return record("wrong_snake", y, {x, alpha}, [x, alpha](const Tensor& dy) -> Grads {
    const Tensor dx = empty_like(x);
    dispatch_float(x.dtype(), "wrong_snake", [&]<class T>() {
      for (int64_t i = 0; i < x.numel(); ++i)
        dx.data<T>()[i] = dy.data<T>()[i] * std::sin(2 * alpha.data<T>()[i % alpha.numel()] * x.data<T>()[i]);
    });
    return {dx, zeros_like(alpha)};
  });
}

}  // namespace

int main() try {
  for (const Shape& shape : {Shape{1}, Shape{5, 3}, Shape{4, 3, 33}, Shape{700, 65}})
    expect_passed(check_operator(snake_case(shape)));

  OpCase wrong = snake_case({5, 3});
  wrong.run = [](const Tensors& x) -> Tensors { return {wrong_snake(x[0], x[1])}; };
  wrong.has_gpu_kernel = false;
  const std::string message = error_of([&wrong] { check_operator(wrong).require(); });
  expect(message.find("derivative: input 0") != std::string::npos, "a wrong backward is refused: " + message);
  expect(error_of([] {
           prototype::snake(full({2, 3}, 1, DType::f32), full({4}, 1, DType::f32));
         }).starts_with("snake: x is"),
         "sizes that do not fit are refused");
  expect_passed(check_model_configs({R"({"model": "mingru", "d": 16, "layers": 2})",
                                     R"({"model": "mingru", "d": 12, "layers": 1, "tied": true})"}));
  return failures == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::printf("%s\n", error.what());
  return 1;
}
