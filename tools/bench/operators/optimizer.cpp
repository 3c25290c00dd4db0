// Benchmark case of the optimizer: gradient norm, clipping and update of all parameters of a model.
#include <algorithm>
#include <memory>
#include <utility>

#include "autograd/leaf.h"
#include "core/array.h"
#include "core/check.h"
#include "core/random.h"
#include "models/registry.h"
#include "models/training/optimizer.h"
#include "ops/support/weight_cache.h"
#include "tools/bench/operators.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

// An optimizer over copies of a model's parameters, with random gradients. `activations`: the dtype of those
// that the weights meet; it writes copies in it.
class Updates {
 public:
  Updates(const std::vector<NamedTensor>& parameters, DType dtype, DType activations, double lr)
      : parameters_(copies(parameters, dtype)),
        optimizer_(parameters_, OptimizerConfig()),
        lr_(full({1}, lr, DType::f64, bench_device())),
        outcome_({3}, DType::f64, bench_device()),
        timed_([this] { step(); }) {
    Random random(7);
    for (const NamedTensor& parameter : parameters_) {
      gradients_.push_back(empty_like(parameter.value));
      random.fill_normal(gradients_.back(), 0, 1e-3);
      if (activations == DType::bf16 && parameter.value.rank() >= 2)
        low_precision_.push_back(weight_as(parameter.value, activations));
    }
  }
  Updates(const Updates&) = delete;
  Updates& operator=(const Updates&) = delete;

  void step() {
    for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].value.node()->grad = gradients_[i];
    optimizer_.step(lr_, Tensor(), outcome_);
  }
  double step_ms(int repeats) { return timed_.run_ms(repeats); }

  // Values and moments, all that a step changes.
  std::vector<Tensor> results() const {
    std::vector<Tensor> all;
    for (const NamedTensor& parameter : parameters_) all.push_back(parameter.value);
    for (const NamedTensor& part : optimizer_.state()) all.push_back(part.value);
    return all;
  }

  int64_t count() const {
    int64_t sum = 0;
    for (const NamedTensor& parameter : parameters_) sum += parameter.value.numel();
    return sum;
  }
  // The norm reads the gradients; the update reads them, values and two moments, and writes the last three
  // and the copies.
  double bytes() const { return 8 * bytes_of(gradients_) + bytes_of(low_precision_); }

 private:
  static std::vector<NamedTensor> copies(const std::vector<NamedTensor>& parameters, DType dtype) {
    std::vector<NamedTensor> all;
    for (const NamedTensor& p : parameters) {
      const Tensor copied(p.value.shape(), dtype, bench_device());
      copy(copied, p.value);
      all.push_back({p.name, requires_grad(copied)});
    }
    return all;
  }

  std::vector<NamedTensor> parameters_;
  Optimizer optimizer_;
  Tensor lr_, outcome_;
  std::vector<Tensor> gradients_, low_precision_;
  TimedWork timed_;
};

double error_against_f64(const std::vector<NamedTensor>& parameters, DType activations) {
  // Past the first five updates, which are of another kind; at a rate that moves parameters visibly.
  constexpr int kSteps = 7;
  constexpr double kRate = 0.1;
  Updates actual(parameters, DType::f32, activations, kRate),
      expected(parameters, DType::f64, DType::f64, kRate);
  for (int i = 0; i < kSteps; ++i) actual.step(), expected.step();
  const std::vector<Tensor> a = actual.results(), e = expected.results();
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, relative_difference(a[i], e[i]));
  return worst;
}

}  // namespace

void add_optimizer_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision) {
  const std::vector<NamedTensor> parameters = make_model(sizes.model_config, 1)->parameters();
  const DType activations = bench_activation_dtype(precision);
  const auto updates = std::make_shared<Updates>(parameters, DType::f32, activations, 1e-4);
  BenchCase c;
  c.op = "optimizer_step";
  c.name = fmt::format("radam, {:.2f} M parameters", static_cast<double>(updates->count()) / 1e6);
  c.precision = precision;
  c.forward.bytes = updates->bytes();
  c.has_backward = false;
  c.error = [parameters, activations] { return error_against_f64(parameters, activations); };
  c.run = [updates](int repeats) { return PassTimes{updates->step_ms(repeats), 0}; };
  cases.push_back(std::move(c));
}

}  // namespace tandem
