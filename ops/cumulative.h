// cumulative: cumsum and logcumsumexp, running sums along any axis, such as time.
#pragma once
#include <cmath>

#include "tandem/core/macros.h"
#include "tandem/core/tensor.h"
#include "tandem/ops/support/axis_split.h"

namespace tandem {

// Computes y_t = x_0 + ... + x_t along an axis, 0 (time in (T, B, D)) or another; -1 is the last. Sums are formed in f64.
// Error: no such axis; x is not floating.
Tensor cumsum(const Tensor& x, int axis);

// Computes y_t = log(e^{x_0} + ... + e^{x_t}) along an axis, without overflow: a sum is kept as its largest element and
// the sum of the exponentials relative to it. -infinity is the logarithm of 0. Error: as cumsum().
Tensor logcumsumexp(const Tensor& x, int axis);

// A scan goes along the axis, forwards or backwards, and combines the state of what it has passed with that of each
// element:  state = combine(state, load(i, previous, is_first)),  store(i, state),  where i + previous is the element
// passed just before i, unless i is the first. combine() is associative, so that a GPU may combine the states of many
// elements at once.
template <class T>
struct SumScan {
  using State = double;
  T* y;
  const T* x;

  TANDEM_HD TANDEM_INLINE static State identity() { return 0; }
  TANDEM_HD TANDEM_INLINE State load(int64_t i, int64_t, bool) const { return static_cast<double>(x[i]); }
  TANDEM_HD TANDEM_INLINE static State combine(State before, State here) { return before + here; }
  TANDEM_HD TANDEM_INLINE void store(int64_t i, State state) const { y[i] = static_cast<T>(state); }
};

// A sum of exponentials, e^largest sum. Two of them are added by bringing both to the larger `largest`.
struct ExponentialSum {
  double largest, sum;
};
template <class T>
struct LogSumScan {
  using State = ExponentialSum;
  T* y;
  double* lse;  // the result in f64, for backward; may be null
  const T* x;

  TANDEM_HD TANDEM_INLINE static State identity() { return {-HUGE_VAL, 0}; }
  TANDEM_HD TANDEM_INLINE State load(int64_t i, int64_t, bool) const {
    return {static_cast<double>(x[i]), 1};
  }
  TANDEM_HD TANDEM_INLINE static State combine(State before, State here) {
    if (before.largest == here.largest) return {here.largest, before.sum + here.sum};
    if (before.largest > here.largest)
      return {before.largest, before.sum + here.sum * std::exp(here.largest - before.largest)};
    return {here.largest, before.sum * std::exp(before.largest - here.largest) + here.sum};
  }
  TANDEM_HD TANDEM_INLINE void store(int64_t i, State state) const {
    const double value = state.largest + std::log(state.sum);
    y[i] = static_cast<T>(value);
    if (lse) lse[i] = value;
  }
};

// Returns e^(a - b) for a <= b, and 0 if a is -infinity, whatever b is.
TANDEM_HD TANDEM_INLINE double exponential_ratio(double a, double b) {
  return a == -HUGE_VAL ? 0 : std::exp(a - b);
}

// The gradient, backwards in time: with g_t = sum over s >= t of dy_s e^(y_t - y_s), in which no power exceeds 1,
//
//     g_t = dy_t + e^(y_t - y_{t+1}) g_{t+1}        dx_t = e^(x_t - y_t) g_t
struct WeightedSum {
  double weight, sum;  // weight: of what lies before
};
template <class T>
struct LogSumGradientScan {
  using State = WeightedSum;
  T* dx;
  const T *dy, *x;
  const double* y;

  TANDEM_HD TANDEM_INLINE static State identity() { return {1, 0}; }
  TANDEM_HD TANDEM_INLINE State load(int64_t i, int64_t previous, bool is_first) const {
    return {is_first ? 0 : exponential_ratio(y[i], y[i + previous]), static_cast<double>(dy[i])};
  }
  TANDEM_HD TANDEM_INLINE static State combine(State before, State here) {
    return {before.weight * here.weight, here.sum + here.weight * before.sum};
  }
  TANDEM_HD TANDEM_INLINE void store(int64_t i, State state) const {
    dx[i] = static_cast<T>(exponential_ratio(static_cast<double>(x[i]), y[i]) * state.sum);
  }
};

namespace cpu {
// y = the sums of x along the axis of the split, or, in reverse, from its end.
void cumsum(const Tensor& y, const Tensor& x, AxisSplit split, bool reverse);
// lse, f64, receives y before it is rounded; undefined if it is not wanted.
void logcumsumexp_forward(const Tensor& y, const Tensor& lse, const Tensor& x, AxisSplit split);
void logcumsumexp_backward(const Tensor& dx, const Tensor& dy, const Tensor& x, const Tensor& lse,
                           AxisSplit split);
}  // namespace cpu

namespace cuda {
void cumsum(const Tensor& y, const Tensor& x, AxisSplit split, bool reverse);
void logcumsumexp_forward(const Tensor& y, const Tensor& lse, const Tensor& x, AxisSplit split);
void logcumsumexp_backward(const Tensor& dx, const Tensor& dy, const Tensor& x, const Tensor& lse,
                           AxisSplit split);
}  // namespace cuda

}  // namespace tandem
