// Checks the operator `snake` with Tandem's public gradcheck, and shows that the check refuses a wrong
// backward. Exits with 0 if all checks pass, else with 1.
#include <cmath>
#include <cstdio>
#include <vector>

#include "snake.h"
#include "tandem/autograd/gradcheck.h"
#include "tandem/core/error.h"

using namespace tandem;

namespace {

int failures = 0;

void expect(bool ok, const char* what) {
  std::printf("%-60s %s\n", what, ok ? "ok" : "FAILED");
  failures += !ok;
}

// Returns a tensor whose values all differ.
Tensor waves(Shape shape, double offset) {
  std::vector<double> values(shape.numel());
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = offset + std::sin(1.7 * static_cast<double>(i) + offset);
  return tensor_of(shape, values);
}

// Computes snake with a wrong backward, which forgets the 1.
Tensor wrong_snake(const Tensor& x, const Tensor& alpha) {
  Tensor y;
  {
    NoGrad pause;
    y = snake(x, alpha);
  }
  return record("wrong_snake", y, {x, alpha}, [x, alpha](const Tensor& dy) -> Grads {
    Tensor dx = empty_like(x);
    const double* a = alpha.data<double>();
    for (int64_t i = 0; i < x.numel(); ++i) {
      dx.data<double>()[i] = dy.data<double>()[i] * std::sin(2 * a[i % alpha.numel()] * x.data<double>()[i]);
    }
    return {dx, zeros_like(alpha)};
  });
}

bool near(double got, double want) {
  return std::abs(got - want) < 1e-12;
}

}  // namespace

int main() try {
  const Tensor x = waves({5, 3}, 0.4), alpha = waves({3}, 2.0);

  const double x0 = x.data<double>()[0], a0 = alpha.data<double>()[0];
  const Tensor y = snake(x, alpha);
  expect(near(y.data<double>()[0], x0 + std::pow(std::sin(a0 * x0), 2) / a0), "forward follows the formula");

  const GradcheckResult right =
      gradcheck([](const std::vector<Tensor>& in) { return std::vector{snake(in[0], in[1])}; }, {x, alpha});
  if (!right) std::printf("%s\n", right.message.c_str());
  expect(right.ok, "gradcheck passes the operator");

  const GradcheckResult wrong = gradcheck(
      [](const std::vector<Tensor>& in) { return std::vector{wrong_snake(in[0], in[1])}; }, {x, alpha});
  expect(!wrong.ok, "gradcheck refuses a wrong backward");

  const Tensor leaf = requires_grad(alpha.clone());
  std::vector<double> once;
  for (int pass = 0; pass < 2; ++pass) {
    Tape tape;
    const Tensor out = snake(x, leaf);
    tape.backward({out}, {full(out.shape(), 1.0, out.dtype())});
    if (pass == 0) once = grad(leaf).to_vector<double>();
  }
  expect(near(grad(leaf).data<double>()[2], 2 * once[2]),
         "a second backward pass adds to the parameter's gradient");

  bool refused = false;
  try {
    snake(x, waves({4}, 2.0));
  } catch (const Error& error) {
    refused = true;
    std::printf("%s\n", error.what());
  }
  expect(refused, "sizes that do not fit are refused");
  return failures == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::printf("%s\n", error.what());
  return 1;
}
