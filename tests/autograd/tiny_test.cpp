// The scalar tape of the tutorial: derivatives against finite differences, and numbers that are used twice.
#include "tandem/autograd/tiny.h"

#include <doctest/doctest.h>

#include <functional>
#include <thread>
#include <vector>

using namespace tandem::tiny;

namespace {

using Function = std::function<Value(const std::vector<Value>&)>;

// The gradient of f at x, by the tape and by central differences.
struct Gradients {
  std::vector<double> backward, differences;
};
Gradients gradients_of(const Function& f, const std::vector<double>& x) {
  Gradients found;
  const std::vector<Value> values(x.begin(), x.end());
  backward(f(values));
  for (const Value& value : values) found.backward.push_back(value.grad());
  constexpr double kStep = 1e-6;
  for (size_t i = 0; i < x.size(); ++i) {
    std::vector<double> above = x, below = x;
    above[i] += kStep;
    below[i] -= kStep;
    const double difference =
        f({above.begin(), above.end()}).value() - f({below.begin(), below.end()}).value();
    found.differences.push_back(difference / (2 * kStep));
  }
  tape().clear();  // the differences were recorded too
  return found;
}

}  // namespace

TEST_CASE("tiny: every operation's derivative agrees with finite differences") {
  const Function functions[] = {
      [](const auto& x) { return x[0] + x[1]; },
      [](const auto& x) { return x[0] - x[1]; },
      [](const auto& x) { return x[0] * x[1]; },
      [](const auto& x) { return exp(x[0]); },
      [](const auto& x) { return log(x[0]); },
      [](const auto& x) { return tanh(x[0]); },
      // A neuron with a squared error: x[0] is used twice.
      [](const auto& x) {
        const Value error = tanh(x[0] * 0.5 + x[1] * x[0]) - log(exp(x[1]) + 1.0);
        return error * error;
      },
  };
  for (const Function& f : functions) {
    const Gradients found = gradients_of(f, {0.7, -1.3});
    for (size_t i = 0; i < 2; ++i)
      CHECK(found.backward[i] == doctest::Approx(found.differences[i]).epsilon(1e-6));
  }
}

TEST_CASE("tiny: gradients of a number that is used twice are added, over passes too") {
  const Value x = 3;
  backward(x * x * x);
  CHECK(x.grad() == 27);
  CHECK(tape().empty());
  backward(x * 2);
  CHECK(x.grad() == 29);
}

TEST_CASE("tiny: a thread has a tape of its own") {
  const Value x = 2, y = x * x;
  std::thread([] {
    const Value z = 5;
    backward(z * z);
    CHECK(z.grad() == 10);
  }).join();
  backward(y);
  CHECK(x.grad() == 4);
}

TEST_CASE("tiny: a hundred thousand operations neither recurse nor leak") {
  const Value x = 1;
  Value y = x;
  for (int i = 0; i < 100000; ++i) y = y * 1.0;
  backward(y);
  CHECK(x.grad() == 1);
  CHECK(tape().empty());
}
