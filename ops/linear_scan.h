// linear_scan: h_t = a_t h_{t-1} + b_t over all time steps, where a and b do not see h, (T, B, D) twice to (T, B, D).
//
// Feng, Tung, Ahmed, Bengio and Hajimirsadeghi, "Were RNNs All We Needed?" (2024), minGRU; De et al., "Griffin:
// Mixing Gated Linear Recurrences with Local Attention for Efficient Language Models" (2024), the RG-LRU.
#pragma once
#include <cmath>

#include "tandem/core/macros.h"
#include "tandem/core/math.h"
#include "tandem/core/tensor.h"

namespace tandem {

// Says how a and b are computed from the two inputs p and q.
//
//     coefficients   a = p                  b = q
//     min_gru        a = 1 - sigmoid(p)     b = sigmoid(p) g(q),  g(q) = q + 1/2 for q >= 0, sigmoid(q) below
//     rg_lru         a = e^p, p <= 0        b = sqrt(1 - a^2) q;  in the first step of a text b = q
//
// p is the update gate of a minGRU before its sigmoid and q its candidate. In an RG-LRU p is the logarithm of
// the decay and q the gated input; the root keeps the variance of h at that of q. Its derivative is limited to
// 1000, as in the authors' code.
enum class ScanForm { coefficients, min_gru, rg_lru };

struct LinearScanResult {
  Tensor h;       // (T, B, D)
  Tensor h_last;  // (B, D), the state after the last step, in memory of its own
};

// Computes h_t = a_t h_{t-1} + b_t for each of the B x D columns, starting from h0.
//
// p and q are (T, B, D). h0 is (B, D); if it is undefined, a text begins: h starts from zeros. Gradients flow to
// all three, from h, from h_last or from both. All are f32 or all are f64; on a GPU p, q and h may be bf16, and
// then h0 and h_last are f32. A tap hears linear_scan.decay, .input and .state: a, b and h, (T, B, D). Error: another shape, dtype or device; no time step.
LinearScanResult linear_scan(const Tensor& p, const Tensor& q, const Tensor& h0, ScanForm form);

// Computes 1 - e^x for x <= 0 without cancellation near 0; in f32 within 1e-6 of the result.
TANDEM_HD TANDEM_INLINE float one_minus_exp(float x) {
  const float series = -(x + x * x * exp_series(x));
  return x > -0.34f ? series : 1.0f - fast_exp(x);
}
TANDEM_HD TANDEM_INLINE double one_minus_exp(double x) {
  return -std::expm1(x);
}

// One step of one column, for the CPU loop and the CUDA kernels. `first` is 1 in the first step of a text, else 0.
template <class T>
struct ScanCoefficients {
  T a, b;
};
template <ScanForm kForm, class T>
TANDEM_HD TANDEM_INLINE ScanCoefficients<T> scan_coefficients(T p, T q, [[maybe_unused]] T first) {
  if constexpr (kForm == ScanForm::min_gru) {
    const T z = sigmoid(p), s = sigmoid(q);
    return {sigmoid(-p), z * (q >= T(0) ? q + T(0.5) : s)};
  } else if constexpr (kForm == ScanForm::rg_lru) {
    const T root = std::sqrt(one_minus_exp(T(2) * p));
    return {fast_exp(p), (root + first * (T(1) - root)) * q};
  } else {
    return {p, q};
  }
}

// Returns a alone.
template <ScanForm kForm, class T>
TANDEM_HD TANDEM_INLINE T scan_decay(T p) {
  if constexpr (kForm == ScanForm::min_gru) return sigmoid(-p);
  if constexpr (kForm == ScanForm::rg_lru) return fast_exp(p);
  if constexpr (kForm == ScanForm::coefficients) return p;
}

template <class T>
struct ScanInputGrad {
  T p, q, h_before;
};
// dh is the gradient of the state after the step, from its output and from later steps together.
template <ScanForm kForm, class T>
TANDEM_HD TANDEM_INLINE ScanInputGrad<T> scan_backward(T p, T q, [[maybe_unused]] T first, T h_before, T dh) {
  const T da = dh * h_before, db = dh;
  if constexpr (kForm == ScanForm::min_gru) {
    const T z = sigmoid(p), a = sigmoid(-p), s = sigmoid(q);
    const T g = q >= T(0) ? q + T(0.5) : s, slope = q >= T(0) ? T(1) : s * (T(1) - s);
    return {(db * g - da) * z * a, db * z * slope, dh * a};
  } else if constexpr (kForm == ScanForm::rg_lru) {
    constexpr T kSmallest = T(1e-6);  // four times the square whose root has the derivative 1000
    const T a = fast_exp(p), square = one_minus_exp(T(2) * p), root = std::sqrt(square), four = T(4) * square;
    const T droot = db * q * (T(1) - first);
    const T dsquare = droot / std::sqrt(four > kSmallest ? four : kSmallest);
    return {da * a - T(2) * dsquare * a * a, db * (root + first * (T(1) - root)), dh * a};
  } else {
    return {da, db, dh * p};
  }
}

// The inputs of both directions. h0 is undefined at the beginning of a text.
struct LinearScanInputs {
  Tensor p, q, h0;
  ScanForm form;
};

namespace cpu {
void linear_scan_forward(const Tensor& h, const Tensor& h_last, const LinearScanInputs& in);
// dh and dh_last are zeros if undefined. dp, dq and dh0 are all written.
void linear_scan_backward(const Tensor& dp, const Tensor& dq, const Tensor& dh0, const Tensor& dh,
                          const Tensor& dh_last, const Tensor& h, const LinearScanInputs& in);
}  // namespace cpu

namespace cuda {
void linear_scan_forward(const Tensor& h, const Tensor& h_last, const LinearScanInputs& in);
void linear_scan_backward(const Tensor& dp, const Tensor& dq, const Tensor& dh0, const Tensor& dh,
                          const Tensor& dh_last, const Tensor& h, const LinearScanInputs& in);
}  // namespace cuda

}  // namespace tandem
