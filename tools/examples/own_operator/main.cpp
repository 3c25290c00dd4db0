// Checks the operator mish: its values, its gradient, and the GPU against the CPU where there is one. Exits with 1 if a
// check fails.
#include <cmath>
#include <cstdio>
#include <vector>

#include "mish.h"
#include "tandem/autograd/gradcheck.h"
#include "tandem/core/backend.h"
#include "tandem/core/random.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/reduce.h"

using namespace tandem;

namespace {

bool all_right = true;

void report(const char* what, bool right, double error) {
  std::printf("%-32s %s  (error %.1e)\n", what, right ? "right" : "WRONG", error);
  all_right = all_right && right;
}

// The values of mish and the gradient of sum(mish(x) * weights), on the CPU.
struct Results {
  std::vector<float> values, gradient;
};
Results run(const Tensor& x, const Tensor& weights, Device device) {
  const Tensor leaf = requires_grad(x.to(device));
  Tape tape;
  const Tensor y = mine::mish(leaf);
  tape.backward(sum(y * weights.to(device)));
  return {y.to_vector<float>(), grad(leaf).to_vector<float>()};
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!(difference <= largest)) largest = difference;  // a NaN counts as the largest
  }
  return largest;
}

}  // namespace

int main() {
  // The definition, in plain f64, and both ends of the range: x where x is large, 0 where e^x is.
  double error = 0;
  for (const double x : {-1000.0, -2.0, -0.5, 0.0, 1.0, 3.0, 1000.0}) {
    const double wanted = x > 700 ? x : x * std::tanh(std::log1p(std::exp(x)));
    const double difference = std::abs(mine::mish(full({}, x, DType::f64)).item() - wanted);
    if (!(difference <= error)) error = difference;
  }
  report("values", error < 1e-12, error);

  Random random(1);
  const Tensor points = uniform({3, 7}, random, -4, 4, DType::f64);
  const GradcheckResult check =
      gradcheck([](const std::vector<Tensor>& in) { return std::vector{mine::mish(in[0])}; }, {points});
  report("gradient", check.ok, check.max_error);
  if (!check) std::printf("  %s\n", check.message.c_str());

  if (cuda_status().available) {
    const Tensor x = uniform({33, 65}, random, -8, 30), weights = uniform({33, 65}, random, -1, 1);
    const Results cpu = run(x, weights, Device::cpu()), gpu = run(x, weights, best_device());
    const double values = largest_difference(cpu.values, gpu.values);
    const double gradients = largest_difference(cpu.gradient, gpu.gradient);
    report("values, GPU against CPU", values < 1e-4, values);
    report("gradient, GPU against CPU", gradients < 1e-4, gradients);
  } else {
    std::printf("not run on a GPU: %s\n", cuda_status().text.c_str());
  }
  std::printf("mish is %s\n", all_right ? "right" : "WRONG");
  return all_right ? 0 : 1;
}
