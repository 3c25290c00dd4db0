// Updates by an optimizer, with random gradients.
#include "tools/bench/updates.h"

#include "tandem/autograd/leaf.h"
#include "tandem/core/array.h"
#include "tandem/core/random.h"
#include "tandem/ops/support/weight_cache.h"
#include "tools/bench/operators.h"

namespace tandem {
namespace {

std::vector<NamedTensor> copies(const std::vector<NamedTensor>& parameters, DType dtype) {
  std::vector<NamedTensor> all;
  for (const NamedTensor& p : parameters) {
    const Tensor copied(p.value.shape(), dtype, bench_device());
    copy(copied, p.value);
    all.push_back({p.name, requires_grad(copied)});
  }
  return all;
}

}  // namespace

Updates::Updates(const std::vector<NamedTensor>& parameters, const std::string& kind, DType dtype,
                 MatmulPrecision precision, double lr)
    : parameters_(copies(parameters, dtype)),
      precision_(precision),
      optimizer_(parameters_, {.kind = kind}),
      lr_(full({1}, lr, DType::f64, bench_device())),
      outcome_({StepOutcome::kSize}, DType::f64, bench_device()),
      timed_([this] { step(); }) {
  Random random(7);
  const bool copied = dtype == DType::f32 && bench_activation_dtype(precision) == DType::bf16;
  for (const NamedTensor& parameter : parameters_) {
    gradients_.push_back(empty_like(parameter.value));
    random.fill_normal(gradients_.back(), 0, 1e-3);
    if (copied && parameter.value.rank() >= 2)
      low_precision_.push_back(weight_as(parameter.value, DType::bf16));
  }
}

void Updates::step() {
  const PrecisionScope scope(precision_, bench_device());
  for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].value.node()->grad = gradients_[i];
  optimizer_.step(lr_, Tensor(), outcome_);
}

std::vector<Tensor> Updates::results() const {
  std::vector<Tensor> all;
  for (const NamedTensor& parameter : parameters_) all.push_back(parameter.value);
  for (const NamedTensor& part : optimizer_.state()) all.push_back(part.value);
  return all;
}

int64_t Updates::count() const {
  int64_t sum = 0;
  for (const NamedTensor& parameter : parameters_) sum += parameter.value.numel();
  return sum;
}

}  // namespace tandem
