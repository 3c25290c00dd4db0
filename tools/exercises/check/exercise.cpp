// The program that judges exercises: exercise_NN [NUMBER] prints "exercise NN: right", or "exercise NN: wrong" and a hint, and
// exits with 0 or 1.
#include "tools/exercises/check/exercise.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>

#include "tandem/autograd/tape.h"
#include "tandem/core/random.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/reduce.h"

using namespace tandem;

namespace exercises {
namespace {

struct Wrong : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::map<std::string, void (*)()>& checks() {
  static std::map<std::string, void (*)()> all;
  return all;
}

Tensor projection_for(const Tensor& y) {
  return leaf(y.shape(), 4711).detach();
}

}  // namespace

void expect(bool right, const std::string& hint) {
  if (!right) throw Wrong(hint);
}

Tensor leaf(Shape shape, uint64_t seed, double low, double high) {
  Random random(seed);
  return requires_grad(uniform(shape, random, low, high, DType::f64));
}

std::string text_of(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", number);
  return text;
}

bool is_close(double a, double b) {
  return std::abs(a - b) <= 1e-9 * std::fmax(1.0, std::abs(b));
}

bool is_close(const Tensor& a, const Tensor& b) {
  if (!a.defined() || a.shape() != b.shape()) return false;
  for (int64_t i = 0; i < a.numel(); ++i)
    if (!is_close(a.data<double>()[i], b.data<double>()[i])) return false;
  return true;
}

bool is_finite(const Tensor& x) {
  for (const double value : x.span<double>())
    if (!std::isfinite(value)) return false;
  return true;
}

std::vector<Tensor> gradients(const Function& f, const std::vector<Tensor>& inputs) {
  for (const Tensor& x : inputs) zero_grad(x);
  Tape tape;
  const Tensor y = f(inputs);
  expect(needs_grad(y),
         "the result is not on the tape: it must come from record(), with the inputs in its list");
  tape.backward(sum(mul(y, projection_for(y))));
  std::vector<Tensor> all;
  for (const Tensor& x : inputs) {
    all.push_back(grad(x));
    zero_grad(x);
  }
  return all;
}

std::vector<Tensor> differences(const Function& f, const std::vector<Tensor>& inputs) {
  constexpr double kStep = 1e-5;
  const auto loss = [&f, &inputs] {
    const Tensor y = f(inputs);
    return sum(mul(y, projection_for(y))).item();
  };
  std::vector<Tensor> all;
  for (const Tensor& x : inputs) {
    all.push_back(empty_like(x));
    for (int64_t i = 0; i < x.numel(); ++i) {
      double& element = x.data<double>()[i];
      const double before = element;
      element = before + kStep;
      const double above = loss();
      element = before - kStep;
      const double below = loss();
      element = before;
      all.back().data<double>()[i] = (above - below) / (2 * kStep);
    }
  }
  return all;
}

void expect_gradients(const Function& f, const std::vector<Tensor>& inputs,
                      const std::vector<std::string>& names) {
  const std::vector<Tensor> found = gradients(f, inputs), wanted = differences(f, inputs);
  for (size_t k = 0; k < inputs.size(); ++k) {
    expect(found[k].defined(), "no gradient arrives at " + names[k]);
    for (int64_t i = 0; i < inputs[k].numel(); ++i) {
      const double got = found[k].data<double>()[i], want = wanted[k].data<double>()[i];
      expect(std::abs(got - want) <= 1e-6 * std::fmax(1.0, std::abs(want)),
             "the gradient of " + names[k] + " is " + text_of(got) + " at element " + std::to_string(i) +
                 ", and differences of the forward pass give " + text_of(want));
    }
  }
}

bool add_exercise(const char* number, void (*check)()) {
  checks()[number] = check;
  return true;
}

}  // namespace exercises

int main(int argc, char** argv) {
  // New memory is NaN, so that a tensor which is read before it is written shows.
  setenv("TANDEM_ALLOCATOR", "poison", 1);
  const auto& checks = exercises::checks();
  const auto found = argc > 1 ? checks.find(argv[1]) : checks.begin();
  if (found == checks.end()) {
    std::fprintf(stderr, "error: there is no exercise %s\n", argc > 1 ? argv[1] : "in this program");
    return 2;
  }
  std::string hint;
  try {
    found->second();
  } catch (const exercises::Wrong& wrong) {
    hint = wrong.what();
  } catch (const std::exception& error) {
    hint = std::string("it ends with an error: ") + error.what();
  }
  if (hint.empty()) {
    std::printf("exercise %s: right\n", found->first.c_str());
    return 0;
  }
  std::printf("exercise %s: wrong\n  %s\n", found->first.c_str(), hint.c_str());
  return 1;
}
