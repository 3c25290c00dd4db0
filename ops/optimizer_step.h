// optimizer_step: gradient scaling, decay, moments and update of every parameter in one pass; and the
// gradients' norm. Not a tape operator: it changes its tensors in place.
#pragma once
#include <cmath>
#include <span>
#include <vector>

#include "core/macros.h"
#include "core/tensor.h"

namespace tandem {

// The numbers of one update, in which RAdam and AdamW differ (models/optimizer.cpp fills them in):
//
//     g = gradient_scale gradient            m = beta1 m + (1 - beta1) g       v = beta2 v + (1 - beta2) g^2
//     p = p - decay p - rate m / (root_scale sqrt(v) + eps)
//
// root_scale 0 and eps 1 leave the momentum step of RAdam's first updates.
struct AdamCoefficients {
  double gradient_scale = 1;
  double beta1 = 0.9, beta2 = 0.999;
  double decay = 0;  // share of p: learning rate times weight decay
  double rate = 0;
  double root_scale = 1, eps = 1e-8;
};

// A parameter, its gradient and its moments: one shape, and all f32 or all f64.
struct AdamSlot {
  Tensor value, gradient, m, v;
  AdamCoefficients coefficients;
};

// Updates value, m and v of every slot. The kernel behind Optimizer, which checks the tensors.
void adam_step(const std::vector<AdamSlot>& slots);

// sqrt of the sum of squares over all gradients, summed in double and in an order that no thread changes: the
// same bits every time. Waits for the device.
double gradient_norm(const std::vector<Tensor>& gradients);

// One element, for the CPU loop and the CUDA kernel.
template <class T>
struct AdamState {
  T value, m, v;
};
template <class T>
struct AdamFactors {
  T gradient_scale, beta1, one_minus_beta1, beta2, one_minus_beta2, decay, rate, root_scale, eps;

  explicit AdamFactors(const AdamCoefficients& c)
      : gradient_scale(static_cast<T>(c.gradient_scale)),
        beta1(static_cast<T>(c.beta1)),
        one_minus_beta1(static_cast<T>(1 - c.beta1)),
        beta2(static_cast<T>(c.beta2)),
        one_minus_beta2(static_cast<T>(1 - c.beta2)),
        decay(static_cast<T>(c.decay)),
        rate(static_cast<T>(c.rate)),
        root_scale(static_cast<T>(c.root_scale)),
        eps(static_cast<T>(c.eps)) {}
};

template <class T>
TANDEM_HD TANDEM_INLINE AdamState<T> adam_element(const AdamState<T>& before, T gradient,
                                                  const AdamFactors<T>& k) {
  const T g = k.gradient_scale * gradient;
  const T m = k.beta1 * before.m + k.one_minus_beta1 * g;
  const T v = k.beta2 * before.v + k.one_minus_beta2 * g * g;
  const T value = before.value - k.decay * before.value - k.rate * m / (k.root_scale * std::sqrt(v) + k.eps);
  return {value, m, v};
}

namespace cpu {
void adam_step(const std::vector<AdamSlot>& slots);
void gradient_norm(double& norm, const std::vector<Tensor>& gradients);
}  // namespace cpu

namespace cuda {
void adam_step(const std::vector<AdamSlot>& slots);
void gradient_norm(double& norm, const std::vector<Tensor>& gradients);
}  // namespace cuda

}  // namespace tandem
