// Benchmark case of the optimizer: gradient norm, clipping and update of all parameters of a model.
#include <algorithm>
#include <memory>
#include <utility>

#include "autograd/gradient.h"
#include "core/check.h"
#include "core/random.h"
#include "models/optimizer.h"
#include "models/registry.h"
#include "tools/support/bench_operators.h"
#include "tools/support/bench_timing.h"

namespace tandem {
namespace {

// An optimizer over copies of a model's parameters, with random gradients.
class Updates {
 public:
  Updates(const std::vector<NamedTensor>& parameters, DType dtype, double lr)
      : parameters_(copies(parameters, dtype)),
        optimizer_(parameters_, OptimizerConfig()),
        lr_(full({1}, lr, DType::f64, parameters_[0].value.device())),
        outcome_(full({3}, 0, DType::f64, parameters_[0].value.device())) {
    Random random(7);
    for (const NamedTensor& parameter : parameters_) {
      gradients_.emplace_back(parameter.value.shape(), dtype);
      random.fill_normal(gradients_.back(), 0, 1e-3);
    }
  }

  PassTimes step() {
    for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].value.node()->grad = gradients_[i];
    return {time_ms([this] { optimizer_.step(lr_, Tensor(), outcome_); }), 0};
  }

  // Values and moments, all that a step changes.
  std::vector<Tensor> results() const {
    std::vector<Tensor> all;
    for (const NamedTensor& parameter : parameters_) all.push_back(parameter.value);
    for (const NamedTensor& part : optimizer_.state()) all.push_back(part.value);
    return all;
  }

  double bytes() const { return bytes_of(gradients_); }

 private:
  static std::vector<NamedTensor> copies(const std::vector<NamedTensor>& parameters, DType dtype) {
    std::vector<NamedTensor> all;
    for (const NamedTensor& p : parameters)
      all.push_back({p.name, requires_grad(p.value.dtype() == dtype ? p.value.clone() : p.value.to(dtype))});
    return all;
  }

  std::vector<NamedTensor> parameters_;
  Optimizer optimizer_;
  Tensor lr_, outcome_;
  std::vector<Tensor> gradients_;
};

double error_against_f64(const std::vector<NamedTensor>& parameters) {
  // Past the first five updates, which are of another kind; at a rate that moves parameters visibly.
  constexpr int kSteps = 7;
  constexpr double kRate = 0.1;
  Updates actual(parameters, DType::f32, kRate), expected(parameters, DType::f64, kRate);
  for (int i = 0; i < kSteps; ++i) actual.step(), expected.step();
  const std::vector<Tensor> a = actual.results(), e = expected.results();
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, relative_difference(a[i], e[i]));
  return worst;
}

}  // namespace

void add_optimizer_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision) {
  const std::vector<NamedTensor> parameters = make_model(sizes.model_config, 1)->parameters();
  const auto updates = std::make_shared<Updates>(parameters, DType::f32, 1e-4);
  BenchCase c;
  c.op = "optimizer_step";
  c.name = fmt::format("radam, {:.2f} M parameters", updates->bytes() / 4e6);
  c.precision = precision;
  // The norm reads the gradients; the update reads them, values and two moments, and writes the last three.
  c.forward.bytes = 8 * updates->bytes();
  c.error = [parameters] { return error_against_f64(parameters); };
  c.run = [updates] { return updates->step(); };
  cases.push_back(std::move(c));
}

}  // namespace tandem
