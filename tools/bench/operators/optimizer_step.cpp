// Benchmark case of the optimizer: gradient norm, clipping and update of all parameters of a model.
#include <algorithm>
#include <memory>
#include <utility>

#include "tandem/autograd/leaf.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/random.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/optimizer.h"
#include "tandem/ops/support/weight_cache.h"
#include "tools/bench/operators.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

// An optimizer over copies of a model's parameters, with random gradients. `activations` is the dtype of
// activations: if it is bf16, the update also writes the bf16 copies of the matrices.
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

  // Returns values and moments, all that a step changes.
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
  // Bytes of an update: the norm reads the gradients; the update reads gradients, values and two moments, and
  // writes values, moments and bf16 copies.
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
  // RAdam's first five updates are of another kind. The rate is high enough to move parameters visibly.
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

BENCH_CASES(optimizer_step) {
  const std::vector<NamedTensor> parameters = make_model(bench.sizes.model_config, 1)->parameters();
  const DType activations = bench_activation_dtype(bench.precision);
  const auto updates = std::make_shared<Updates>(parameters, DType::f32, activations, 1e-4);
  BenchCase c;
  c.name = fmt::format("radam, {:.2f} M parameters", static_cast<double>(updates->count()) / 1e6);
  c.forward.bytes = updates->bytes();
  c.has_backward = false;
  c.error = [parameters, activations] { return error_against_f64(parameters, activations); };
  c.run = [updates](int repeats) { return PassTimes{updates->step_ms(repeats), 0}; };
  c.run_once = [updates](CasePart last) {
    if (last == CasePart::forward) updates->step();
  };
  bench.add(std::move(c));
}

}  // namespace tandem
