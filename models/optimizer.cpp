// The numbers of each update, and saving and restoring the moments.
#include "models/optimizer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "autograd/gradient.h"
#include "core/array.h"
#include "core/check.h"
#include "ops/optimizer_step.h"

namespace tandem {
namespace {

// Update number t = 1, 2, ... of a parameter, as in ops/optimizer_step.h:
//
//     AdamW   p -= lr wd p + lr m_hat / (sqrt(v_hat) + eps),   m_hat = m / (1 - beta1^t),   v_hat = v / (1 -
//     beta2^t) RAdam   rho_inf = 2 / (1 - beta2) - 1,   rho = rho_inf - 2 t beta2^t / (1 - beta2^t)
//             rho > 5:  p -= lr wd p + lr R m_hat sqrt(1 - beta2^t) / (sqrt(v) + eps),
//                       R = sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho))
//             else:     p -= lr wd p + lr m_hat, or nothing at all
AdamCoefficients coefficients(const OptimizerConfig& config, int64_t t, double lr, double gradient_scale) {
  const double steps = static_cast<double>(t), beta2_power = std::pow(config.beta2, steps);
  const double correction1 = 1 - std::pow(config.beta1, steps), correction2 = 1 - beta2_power;
  AdamCoefficients c{.gradient_scale = gradient_scale,
                     .beta1 = config.beta1,
                     .beta2 = config.beta2,
                     .decay = lr * config.weight_decay,
                     .rate = lr / correction1,
                     .root_scale = 1,
                     .eps = config.eps};
  if (config.kind == "adamw") {
    c.root_scale = 1 / std::sqrt(correction2);
    return c;
  }
  const double rho_inf = 2 / (1 - config.beta2) - 1;
  const double rho = rho_inf - 2 * steps * beta2_power / correction2;
  if (rho > 5) {
    c.rate *=
        std::sqrt(correction2 * (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho));
    return c;
  }
  c.root_scale = 0;
  c.eps = 1;
  if (!config.degenerated_to_sgd) c.rate = c.decay = 0;
  return c;
}

void check_config(const OptimizerConfig& config) {
  CHECK(config.kind == "radam" || config.kind == "adamw",
        "optimizer: unknown kind \"{}\"; use radam or adamw", config.kind);
  for (const auto& [name, beta] : {std::pair{"beta1", config.beta1}, std::pair{"beta2", config.beta2}})
    CHECK(beta >= 0 && beta < 1, "optimizer: {} is {}; it must be at least 0 and below 1", name, beta);
  CHECK(config.eps > 0 && std::isfinite(config.eps),
        "optimizer: eps is {}; it must be positive, such as 1e-8", config.eps);
  for (const auto& [name, value] :
       {std::pair{"weight decay", config.weight_decay}, std::pair{"clip", config.clip}})
    CHECK(value >= 0 && std::isfinite(value), "optimizer: {} is {}; it must be a finite number, 0 for none",
          name, value);
}

Tensor scalar(int64_t value) {
  return tensor_of<int64_t>({1}, std::vector<int64_t>{value});
}

}  // namespace

Optimizer::Optimizer(std::vector<NamedTensor> parameters, OptimizerConfig config)
    : config_(std::move(config)) {
  check_config(config_);
  std::set<std::string> names;
  for (NamedTensor& parameter : parameters) {
    const auto& [name, value] = parameter;
    CHECK(names.insert(name).second, "optimizer: two parameters are named {}; state is kept by name", name);
    CHECK(value.node() && value.node()->is_leaf(),
          "optimizer: parameter {}, {}, is not a leaf; call requires_grad() on it", name, value.str());
    CHECK(value.dtype() == DType::f32 || value.dtype() == DType::f64,
          "optimizer: parameter {} is {}; keep parameters in f32 or f64", name, value.str());
    CHECK(value.device() == parameters[0].value.device(),
          "optimizer: parameter {} is {}, but {} is on {}; move them to one device", name, value.str(),
          parameters[0].name, parameters[0].value.device().str());
    const Tensor m = zeros_like(value), v = zeros_like(value);
    slots_.push_back({parameter, m, v});
  }
}

double Optimizer::gradient_norm() const {
  std::vector<Tensor> gradients;
  for (const Slot& slot : slots_)
    if (const Tensor gradient = grad(slot.parameter.value); gradient.defined()) gradients.push_back(gradient);
  return tandem::gradient_norm(gradients);
}

void Optimizer::step(double lr, double norm) {
  CHECK(std::isfinite(norm), "optimizer: the gradient norm is {}; skip this step with zero_grad()", norm);
  CHECK(std::isfinite(lr), "optimizer: learning rate {}; it must be finite", lr);
  const double gradient_scale = config_.clip > 0 ? std::min(1.0, config_.clip / (norm + 1e-6)) : 1.0;
  std::vector<AdamSlot> updates;
  for (Slot& slot : slots_) {
    const Tensor gradient = grad(slot.parameter.value);
    if (!gradient.defined()) continue;
    ++slot.steps;
    updates.push_back({slot.parameter.value, gradient, slot.m, slot.v,
                       coefficients(config_, slot.steps, lr, gradient_scale)});
  }
  adam_step(updates);
  ++steps_;
  zero_grad();
}

void Optimizer::zero_grad() {
  for (const Slot& slot : slots_) tandem::zero_grad(slot.parameter.value);
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> state{{"steps", scalar(steps_)}};
  for (const Slot& slot : slots_) {
    const std::string& name = slot.parameter.name;
    state.push_back({name + ".steps", scalar(slot.steps)});
    state.push_back({name + ".m", slot.m});
    state.push_back({name + ".v", slot.v});
  }
  return state;
}

void Optimizer::load_state(const std::vector<NamedTensor>& state) {
  const std::vector<NamedTensor> wanted = this->state();
  std::vector<Tensor> found;
  for (const NamedTensor& own : wanted) {
    const auto given =
        std::find_if(state.begin(), state.end(), [&own](const NamedTensor& x) { return x.name == own.name; });
    CHECK(given != state.end(), "optimizer: the state has no {}; it is of another model, or incomplete",
          own.name);
    CHECK(given->value.shape() == own.value.shape() && given->value.dtype() == own.value.dtype(),
          "optimizer: {} of the state is {}, but this model takes {}", own.name, given->value.str(),
          own.value.str());
    found.push_back(given->value);
  }
  for (const NamedTensor& given : state)
    CHECK(std::any_of(wanted.begin(), wanted.end(),
                      [&given](const NamedTensor& x) { return x.name == given.name; }),
          "optimizer: the state holds {}, which this model does not have", given.name);
  steps_ = static_cast<int64_t>(found[0].item());
  for (size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].steps = static_cast<int64_t>(found[3 * i + 1].item());
    copy(slots_[i].m, found[3 * i + 2]);
    copy(slots_[i].v, found[3 * i + 3]);
  }
}

}  // namespace tandem
