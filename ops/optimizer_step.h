// optimizer_step: clips all gradients by their norm and updates all parameters in place. Not on the tape.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

#include "tandem/core/macros.h"
#include "tandem/core/tensor.h"

namespace tandem {

// The rules of an update. All have the form of AdamCoefficients, NAG (Nesterov's gradient) with constant v.
enum class OptimizerKind { radam, adamw, lamb, nag };

// The numbers that stay the same from step to step. models/training/optimizer.h explains and checks them.
struct UpdateRule {
  OptimizerKind kind = OptimizerKind::radam;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0.1;
  double clip = 1.0;  // 0: no clipping
  bool degenerated_to_sgd = true;
  double min_trust = 0.25;  // LAMB: least trust ratio
};

// A parameter, its gradient and its moments, which have one shape and are all f32 or all f64.
struct ParameterSlot {
  Tensor value, gradient, m, v;
  Tensor copy;         // bf16, same shape: receives the rounded new value; may be undefined
  Tensor steps;        // i64 (1): number of updates so far, for the bias corrections
  bool decays = true;  // whether weight decay applies to it
  // True: another operator moves it (ops/muon_step.h). Its gradient is part of the norm and its updates are counted, but
  // value, copy and moments stay as they are.
  bool counts_only = false;
};

// The elements of the outcome of a step.
enum StepOutcomeElement : int64_t {
  kOutcomeLoss,      // the loss, or 0 without one
  kOutcomeGradNorm,  // L2 norm of all gradients before clipping
  kOutcomeUpdated,   // 1 if the update was made, 0 if it was skipped
  kOutcomeSize
};

// An update has two halves, so that several processes can share it: each measures and updates some of the elements, and in
// between they give each other their sums. A slot may hold a part of a parameter that begins and ends at multiples of
// optimizer_block() elements, or at the parameter's own ends: the bits are those of the whole.

// Returns how many elements of a gradient are added into one number by gradient_squares().
int64_t optimizer_block(Device device);
// Returns how many numbers a gradient of so many elements has.
int64_t square_count(int64_t elements, Device device);
// Writes the sums of the squares of all gradients to `squares`, f64 (n), block by block and slot by slot.
// Error: `squares` has another size, dtype or device; a tensor of a slot has another shape, dtype or device.
void gradient_squares(const std::vector<ParameterSlot>& slots, const Tensor& squares);

// Updates all slots once. All tensors are on one device; the update is asynchronous and skips itself if the
// norm or the loss is not finite:
//
//     norm = L2 norm of all gradients, summed in f64 in a fixed order, so that the bits are the same every time
//     norm or loss not finite:  no value, copy, moment or count changes
//     else:                     every steps += 1, then the update of adam_coefficients() with adam_gradient_scale()
//
// lr is f64 (1) and finite; loss is f64 (1) or undefined; squares is f64 (n), what gradient_squares() writes for all gradients
// of the model; outcome is f64 (3) and receives a StepOutcomeElement each. Of a slot without elements only the count changes.
// Error: lr, loss, squares, outcome or a tensor of a slot has another shape, dtype or device.
void optimizer_step(const std::vector<ParameterSlot>& slots, const UpdateRule& rule, const Tensor& lr,
                    const Tensor& loss, const Tensor& squares, const Tensor& outcome);

// The numbers of one update, in which the kinds differ. g is the clipped gradient, p the parameter:
//
//     g = gradient_scale gradient            m = beta1 m + fresh g             v = beta2 v + (1 - beta2) g^2
//     p = p - decay p - rate (m_share m + g_share g) / (root_scale sqrt(v) + eps)
//
// RAdam's first updates, plain momentum steps, have root_scale 0 and eps 1.
struct AdamCoefficients {
  double gradient_scale, beta1, beta2;
  double decay;  // learning rate times weight decay
  double rate, root_scale, eps;
  double fresh, m_share = 1, g_share = 0;
};

// Returns the factor that brings the norm of all gradients down to rule.clip, or 1 if it is below.
TANDEM_HD inline double adam_gradient_scale(const UpdateRule& rule, double norm) {
  const double scale = rule.clip / (norm + 1e-6);
  return rule.clip > 0 && scale < 1 ? scale : 1;
}

// Returns the numbers of update t = 1, 2, ... of a parameter, in f64:
//
//     AdamW   p -= lr wd p + lr m_hat / (sqrt(v_hat) + eps)
//             m_hat = m / (1 - beta1^t),   v_hat = v / (1 - beta2^t)
//     RAdam   rho_inf = 2 / (1 - beta2) - 1,   rho = rho_inf - 2 t beta2^t / (1 - beta2^t)
//             rho > 5:  p -= lr wd p + lr R m_hat sqrt(1 - beta2^t) / (sqrt(v) + eps),
//                       R = sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho))
//             else:     p -= lr wd p + lr m_hat, or nothing at all
//     NAG     p -= lr wd p + lr (g + beta1 m),   m = beta1 m + g
//     LAMB    p -= lr r (wd p + m / (sqrt(v) + eps)), with r from lamb_trust(); the numbers returned are for r = 1
//
// A parameter that does not decay has wd = 0.
//
// Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019); Liu et al., "On the Variance of the
// Adaptive Learning Rate and Beyond" (2020); You et al., "Large Batch Optimization for Deep Learning" (2020).
TANDEM_HD inline AdamCoefficients adam_coefficients(const UpdateRule& rule, int64_t t, double lr,
                                                    double gradient_scale, bool decays = true) {
  const double steps = static_cast<double>(t), beta2_power = std::pow(rule.beta2, steps);
  const double correction1 = 1 - std::pow(rule.beta1, steps), correction2 = 1 - beta2_power;
  AdamCoefficients c{.gradient_scale = gradient_scale,
                     .beta1 = rule.beta1,
                     .beta2 = rule.beta2,
                     .decay = decays ? lr * rule.weight_decay : 0,
                     .rate = lr / correction1,
                     .root_scale = 1,
                     .eps = rule.eps,
                     .fresh = 1 - rule.beta1};
  if (rule.kind == OptimizerKind::nag) {
    c.rate = lr;
    c.root_scale = 0;
    c.beta2 = c.eps = c.fresh = c.g_share = 1;  // v stays as it is
    c.m_share = rule.beta1;
    return c;
  }
  if (rule.kind == OptimizerKind::lamb) {
    c.rate = lr;
    return c;
  }
  if (rule.kind == OptimizerKind::adamw) {
    c.root_scale = 1 / std::sqrt(correction2);
    return c;
  }
  const double rho_inf = 2 / (1 - rule.beta2) - 1;
  const double rho = rho_inf - 2 * steps * beta2_power / correction2;
  if (rho > 5) {
    c.rate *=
        std::sqrt(correction2 * (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho));
    return c;
  }
  c.root_scale = 0;
  c.eps = 1;
  if (!rule.degenerated_to_sgd) c.rate = c.decay = 0;
  return c;
}

// Returns LAMB's trust ratio r of a parameter p that would move by lr s with r = 1: min(|p|, 10) / |s|, or 1 if
// either norm is 0, but at least min_trust. value_norm is |p|, move_norm |lr s|, the L2 norms over all
// elements. Merity 2019 (arXiv 1911.11423), after You et al. 2020 (arXiv 1904.00962), who correct the bias of m
// and v and have no least ratio.
TANDEM_HD inline double lamb_trust(const UpdateRule& rule, double value_norm, double move_norm, double lr) {
  const double largest = value_norm < 10 ? value_norm : 10;
  const double trust = value_norm > 0 && move_norm > 0 ? lr * largest / move_norm : 1;
  return trust > rule.min_trust ? trust : rule.min_trust;
}

// One element, for the CPU loop and the CUDA kernel.
template <class T>
struct AdamState {
  T value, m, v;
};
template <class T>
struct AdamFactors {
  T gradient_scale, beta1, fresh, beta2, one_minus_beta2, decay, rate, root_scale, eps, m_share, g_share;

  TANDEM_HD explicit AdamFactors(const AdamCoefficients& c)
      : gradient_scale(static_cast<T>(c.gradient_scale)),
        beta1(static_cast<T>(c.beta1)),
        fresh(static_cast<T>(c.fresh)),
        beta2(static_cast<T>(c.beta2)),
        one_minus_beta2(static_cast<T>(1 - c.beta2)),
        decay(static_cast<T>(c.decay)),
        rate(static_cast<T>(c.rate)),
        root_scale(static_cast<T>(c.root_scale)),
        eps(static_cast<T>(c.eps)),
        m_share(static_cast<T>(c.m_share)),
        g_share(static_cast<T>(c.g_share)) {}
};

// Returns the new moments and the old value.
template <class T>
TANDEM_HD TANDEM_INLINE AdamState<T> adam_moments(const AdamState<T>& before, T gradient,
                                                  const AdamFactors<T>& k) {
  const T g = k.gradient_scale * gradient;
  return {before.value, k.beta1 * before.m + k.fresh * g, k.beta2 * before.v + k.one_minus_beta2 * g * g};
}

// Returns what the update subtracts from the value.
template <class T>
TANDEM_HD TANDEM_INLINE T adam_move(const AdamState<T>& x, T gradient, const AdamFactors<T>& k) {
  const T direction = k.m_share * x.m + k.g_share * k.gradient_scale * gradient;
  return k.decay * x.value + k.rate * direction / (k.root_scale * std::sqrt(x.v) + k.eps);
}

// Returns the new moments and the new value.
template <class T>
TANDEM_HD TANDEM_INLINE AdamState<T> adam_element(const AdamState<T>& before, T gradient,
                                                  const AdamFactors<T>& k) {
  const AdamState<T> x = adam_moments(before, gradient, k);
  return {x.value - adam_move(x, gradient, k), x.m, x.v};
}

namespace cpu {
constexpr int64_t kOptimizerBlock = 1 << 14;
void gradient_squares(const std::vector<ParameterSlot>& slots, const Tensor& squares);
void optimizer_step(const std::vector<ParameterSlot>& slots, const UpdateRule& rule, const Tensor& lr,
                    const Tensor& loss, const Tensor& squares, const Tensor& outcome);
}  // namespace cpu

namespace cuda {
constexpr int64_t kOptimizerBlock = 1 << 13;
void gradient_squares(const std::vector<ParameterSlot>& slots, const Tensor& squares);
void optimizer_step(const std::vector<ParameterSlot>& slots, const UpdateRule& rule, const Tensor& lr,
                    const Tensor& loss, const Tensor& squares, const Tensor& outcome);
}  // namespace cuda

}  // namespace tandem
