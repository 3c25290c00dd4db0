// cross_entropy on the CPU, row by row: the largest logit is subtracted first, so that no exponential
// overflows.
#include "tandem/ops/cross_entropy.h"

#include <cmath>
#include <limits>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/math.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/support/check_ids.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

template <class T>
TANDEM_INLINE T largest_of(const T* x, int64_t n) {
  T largest = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

template <class T>
TANDEM_INLINE double log_sum_exp_body(const T* x, int64_t n) {
  const T largest = largest_of(x, n);
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) total += fast_exp(x[i] - largest);
  return static_cast<double>(largest) + std::log(static_cast<double>(total));
}
TANDEM_SIMD double log_sum_exp(const float* x, int64_t n) {
  return log_sum_exp_body(x, n);
}
TANDEM_SIMD double log_sum_exp(const double* x, int64_t n) {
  return log_sum_exp_body(x, n);
}

// dx = softmax(x) * factor, given lse = log sum exp(x).
template <class T>
TANDEM_INLINE void probabilities_body(T* dx, const T* x, T lse, T factor, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) dx[i] = fast_exp(x[i] - lse) * factor;
}
TANDEM_SIMD void probabilities(float* dx, const float* x, float lse, float factor, int64_t n) {
  probabilities_body(dx, x, lse, factor, n);
}
TANDEM_SIMD void probabilities(double* dx, const double* x, double lse, double factor, int64_t n) {
  probabilities_body(dx, x, lse, factor, n);
}

// Replaces x by softmax(x) * factor and returns log sum exp(x).
template <class T>
TANDEM_INLINE double scaled_softmax_body(T* x, T factor, int64_t n) {
  const T largest = largest_of(x, n);
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) {
    x[i] = fast_exp(x[i] - largest);
    total += x[i];
  }
  const T share = factor / total;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] *= share;
  return static_cast<double>(largest) + std::log(static_cast<double>(total));
}
TANDEM_SIMD double scaled_softmax_in_place(float* x, float factor, int64_t n) {
  return scaled_softmax_body(x, factor, n);
}
TANDEM_SIMD double scaled_softmax_in_place(double* x, double factor, int64_t n) {
  return scaled_softmax_body(x, factor, n);
}

void check_inputs(const char* name, const char* targets_name, const Tensor& logits, const Tensor& targets) {
  check_logits_and_targets(name, logits, targets);
  check_ids(targets_name, targets, logits.size(-1));
}

struct Losses {
  Tensor nll, lse;
};

Losses losses(const Tensor& logits, const Tensor& targets) {
  const Losses y{Tensor(targets.shape(), DType::f64, logits.device()),
                 Tensor(targets.shape(), DType::f64, logits.device())};
  TANDEM_DISPATCH(logits.device(), token_nll_forward(y.nll, y.lse, logits, targets));
  return y;
}

// nll = log sum_j exp(x_j) - x_t:  dx_j = (softmax(x)_j - [j = t]) dy.
Backward backward_of(const Tensor& logits, const Tensor& lse, const Tensor& targets, double factor) {
  return [logits, lse, targets, factor](const Tensor& dy) -> Grads {
    Tensor dlogits = empty_like(logits);
    TANDEM_DISPATCH(dy.device(), token_nll_backward(dlogits, dy, logits, lse, targets, factor));
    return {dlogits};
  };
}

double share_of_one(const char* name, const Tensor& targets) {
  TANDEM_CHECK(targets.numel() > 0, "{}: targets are {}: the mean over no tokens", name, targets.summary());
  return 1 / static_cast<double>(targets.numel());
}

}  // namespace

namespace cpu {

void token_nll_forward(const Tensor& nll, const Tensor& lse, const Tensor& logits, const Tensor& targets) {
  dispatch_float(logits.dtype(), "cross_entropy", [&]<class T>() {
    double* loss = nll.data<double>();
    double* sum = lse.data<double>();
    const T* x = logits.data<T>();
    const int32_t* target = targets.data<int32_t>();
    const int64_t width = logits.size(-1);
    for_rows(targets.numel(), width, [loss, sum, x, target, width](int64_t row, int64_t end) {
      for (; row < end; ++row) {
        sum[row] = log_sum_exp(x + row * width, width);
        loss[row] = sum[row] - static_cast<double>(x[row * width + target[row]]);
      }
    });
  });
}

void token_nll_backward(const Tensor& dlogits, const Tensor& dy, const Tensor& logits, const Tensor& lse,
                        const Tensor& targets, double factor) {
  dispatch_float(logits.dtype(), "cross_entropy", [&]<class T>() {
    T* dx = dlogits.data<T>();
    const T* dloss = dy.data<T>();
    const T* x = logits.data<T>();
    const double* sum = lse.data<double>();
    const int32_t* target = targets.data<int32_t>();
    const int64_t width = logits.size(-1);
    const int64_t step = dy.numel() == 1 ? 0 : 1;
    for_rows(
        targets.numel(), width, [dx, dloss, x, sum, target, width, step, factor](int64_t row, int64_t end) {
          for (; row < end; ++row) {
            const T share = static_cast<T>(factor) * dloss[row * step];
            // The factor takes up the part of the sum that T cannot hold, since x minus the rounded sum is exact.
            const T rounded = static_cast<T>(sum[row]);
            const double rest = std::exp(static_cast<double>(rounded) - sum[row]);
            probabilities(dx + row * width, x + row * width, rounded, static_cast<T>(share * rest), width);
            dx[row * width + target[row]] -= share;
          }
        });
  });
}

void token_nll_in_place(const Tensor& nll, const Tensor& logits, const Tensor& targets, double factor) {
  dispatch_float(logits.dtype(), "cross_entropy", [&]<class T>() {
    double* loss = nll.data<double>();
    T* x = logits.data<T>();
    const int32_t* target = targets.data<int32_t>();
    const int64_t width = logits.size(-1);
    for_rows(targets.numel(), width, [loss, x, target, width, factor](int64_t row, int64_t end) {
      for (; row < end; ++row) {
        T* at_target = x + row * width + target[row];
        const double wanted = static_cast<double>(*at_target);
        loss[row] = scaled_softmax_in_place(x + row * width, static_cast<T>(factor), width) - wanted;
        *at_target -= static_cast<T>(factor);
      }
    });
  });
}

void scale_by(const Tensor& x, const Tensor& factor) {
  const double value = factor.item();
  if (value != 1) cpu::scale(x, x, value);
}

}  // namespace cpu

Tensor cross_entropy(const Tensor& logits, const Tensor& targets) {
  check_inputs("cross_entropy", "cross_entropy: targets", logits, targets);
  const double share = share_of_one("cross_entropy", targets);
  const Losses y = losses(logits, targets);
  return record("cross_entropy", mean(y.nll).to(parameter_dtype(logits.dtype())), {logits},
                backward_of(logits, y.lse, targets, share));
}

Tensor cross_entropy_in_place(const Tensor& logits, const Tensor& targets) {
  check_inputs("cross_entropy_in_place", "cross_entropy_in_place: targets", logits, targets);
  const double share = share_of_one("cross_entropy_in_place", targets);
  if (!Tape::current() || !needs_grad(logits)) return cross_entropy(logits, targets);
  TANDEM_CHECK(
      !logits.storage()->holds_leaf(),
      "cross_entropy_in_place: the logits {} are a leaf or a view of one (reshape, slice), whose values would be "
      "lost; use cross_entropy",
      logits.summary());
  const Tensor nll(targets.shape(), DType::f64, logits.device());
  TANDEM_DISPATCH(logits.device(), token_nll_in_place(nll, logits, targets, share));
  const Tensor gradient = logits.detach();
  return record("cross_entropy", mean(nll).to(parameter_dtype(logits.dtype())), {logits},
                [gradient](const Tensor& dy) -> Grads {
                  TANDEM_DISPATCH(dy.device(), scale_by(gradient, dy));
                  return {gradient};
                });
}

Tensor token_nll(const Tensor& logits, const Tensor& targets) {
  check_inputs("token_nll", "token_nll: targets", logits, targets);
  const Losses y = losses(logits, targets);
  return record("token_nll", y.nll.to(parameter_dtype(logits.dtype())), {logits},
                backward_of(logits, y.lse, targets, 1));
}

}  // namespace tandem
