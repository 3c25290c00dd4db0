// One update of one parameter as the papers write it, in f64. `lr` is the learning rate; gradients are
// multiplied by `gradient_scale`, the factor of clipping.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/optimizer_step.h"

namespace tandem::reference {

inline double decay_of(const ParameterSlot& slot, const UpdateRule& rule) {
  return slot.decays ? rule.weight_decay : 0;
}

// AdamW (Loshchilov and Hutter 2019) and RAdam (Liu et al. 2020), for update number t:
//
//     m = beta1 m + (1 - beta1) g        m_hat = m / (1 - beta1^t)
//     v = beta2 v + (1 - beta2) g^2      v_hat = v / (1 - beta2^t)
//     AdamW   p = p - lr (wd p + m_hat / (sqrt(v_hat) + eps))
//     RAdam   rho_inf = 2 / (1 - beta2) - 1        rho = rho_inf - 2 t beta2^t / (1 - beta2^t)
//             rho > 5:  p = p - lr (wd p + R m_hat sqrt(1 - beta2^t) / (sqrt(v) + eps))
//             else:     p = p - lr (wd p + m_hat), or unchanged without degenerated_to_sgd
inline void adam_update(const ParameterSlot& slot, const UpdateRule& rule, double lr, double gradient_scale) {
  const double t = static_cast<double>(++*slot.steps.data<int64_t>());
  const double correction1 = 1 - std::pow(rule.beta1, t), correction2 = 1 - std::pow(rule.beta2, t);
  const double rho_inf = 2 / (1 - rule.beta2) - 1;
  const double rho = rho_inf - 2 * t * std::pow(rule.beta2, t) / correction2;
  for (int64_t i = 0; i < slot.value.numel(); ++i) {
    double &p = slot.value.data<double>()[i], &m = slot.m.data<double>()[i], &v = slot.v.data<double>()[i];
    const double g = gradient_scale * slot.gradient.data<double>()[i];
    m = rule.beta1 * m + (1 - rule.beta1) * g;
    v = rule.beta2 * v + (1 - rule.beta2) * g * g;
    const double m_hat = m / correction1;
    double direction = 0;
    if (rule.kind == OptimizerKind::adamw) {
      direction = m_hat / (std::sqrt(v / correction2) + rule.eps);
    } else if (rho > 5) {
      const double r = std::sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho));
      direction = r * m_hat * std::sqrt(correction2) / (std::sqrt(v) + rule.eps);
    } else if (rule.degenerated_to_sgd) {
      direction = m_hat;
    } else {
      continue;
    }
    p -= lr * decay_of(slot, rule) * p + lr * direction;
  }
}

// LAMB (You et al. 2020) in Merity's form (2019), without bias correction:
//
//     s = m / (sqrt(v) + eps) + wd p        p = p - lr max(min(|p|, 10) / |s|, min_trust) s        |.| the L2 norm
inline void lamb_update(const ParameterSlot& slot, const UpdateRule& rule, double lr, double gradient_scale) {
  ++*slot.steps.data<int64_t>();
  const int64_t n = slot.value.numel();
  double *const p = slot.value.data<double>(), *const m = slot.m.data<double>();
  double* const v = slot.v.data<double>();
  std::vector<double> direction;
  double p_squares = 0, s_squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double g = gradient_scale * slot.gradient.data<double>()[i];
    m[i] = rule.beta1 * m[i] + (1 - rule.beta1) * g;
    v[i] = rule.beta2 * v[i] + (1 - rule.beta2) * g * g;
    direction.push_back(m[i] / (std::sqrt(v[i]) + rule.eps) + decay_of(slot, rule) * p[i]);
    p_squares += p[i] * p[i];
    s_squares += direction.back() * direction.back();
  }
  const double p_norm = std::sqrt(p_squares), s_norm = std::sqrt(s_squares);
  double trust = p_norm > 0 && s_norm > 0 ? std::min(p_norm, 10.0) / s_norm : 1;
  trust = std::max(trust, rule.min_trust);
  for (int64_t i = 0; i < n; ++i) p[i] -= lr * trust * direction[i];
}

// Nesterov's accelerated gradient as fairseq has it, with the buffer b = -lr m:
//
//     p = (1 - lr wd) p + beta1^2 b - (1 + beta1) lr g        b = beta1 b - lr g
inline void nag_update(const ParameterSlot& slot, const UpdateRule& rule, double lr, double gradient_scale) {
  ++*slot.steps.data<int64_t>();
  for (int64_t i = 0; i < slot.value.numel(); ++i) {
    double &p = slot.value.data<double>()[i], &m = slot.m.data<double>()[i];
    const double g = gradient_scale * slot.gradient.data<double>()[i], b = -lr * m;
    p = p * (1 - lr * decay_of(slot, rule)) + rule.beta1 * rule.beta1 * b - (1 + rule.beta1) * lr * g;
    m = (rule.beta1 * b - lr * g) / -lr;
  }
}

inline void optimizer_update(const ParameterSlot& slot, const UpdateRule& rule, double lr,
                             double gradient_scale) {
  if (rule.kind == OptimizerKind::lamb) return lamb_update(slot, rule, lr, gradient_scale);
  if (rule.kind == OptimizerKind::nag) return nag_update(slot, rule, lr, gradient_scale);
  adam_update(slot, rule, lr, gradient_scale);
}

}  // namespace tandem::reference
