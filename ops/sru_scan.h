// sru_scan: the recurrence of the SRU over all time steps, (T, B, 3 D or 4 D) to (T, B, D).
//
// Lei et al., "Simple Recurrent Units for Highly Parallelizable Recurrence" (EMNLP 2018); Lei, "When
// Attention Meets Fast Recurrence" (EMNLP 2021) uses it with three matrices and rescale 1.
#pragma once
#include "tandem/autograd/accumulate.h"
#include "tandem/core/macros.h"
#include "tandem/core/math.h"
#include "tandem/core/tensor.h"

namespace tandem {

struct SruScanOptions {
  Tensor mask;  // (B, D), multiplies the reset gate at every step (variational dropout); gets no gradient
  double rescale = 1.0;  // factor of the skip x; the projected skip of four matrices takes none
  bool tanh = false;     // g(c) is tanh(c), else c
};

struct SruScanResult {
  Tensor h;       // (T, B, D)
  Tensor c_last;  // (B, D), the state after the last step, in memory of its own
};

// Computes for each of the B x D columns, in the order of t and starting from c0:
//
//     f = sigmoid(u_f + v_f c_before + b_f)         r = sigmoid(u_r + v_r c_before + b_r)
//     c = f c_before + (1 - f) u_c                  h = skip + (g(c) - skip) mask r
//
// u is (T, B, k D): the planes u_c, u_f, u_r and, for k = 4, the skip, side by side along the last axis. For k
// = 3 the skip is rescale * x (T, B, D), or 0 if x is undefined. weight_c (2 D) holds v_f and v_r, bias (2 D)
// b_f and b_r. c0 is (B, D), or zeros if undefined. Time is sequential because c is inside the gates.
// Gradients flow to u, x, weight_c, bias and c0, from h, from c_last or from both.
// All are f32 or all are f64, with two exceptions: u of three planes may be bf16 where the rest is f32, and on
// a GPU u, x and h may be bf16 where weight_c, bias, c0, c_last and the mask are f32.
// On a CPU the backward pass overwrites u, and the gradient of h, if no other tensor shares their memory; and a
// scan whose results are worth_streaming() keeps only every 16th state for it.
// A tap hears sru_scan.forget, .reset and .cell: f, r and c of all steps, (T, B, D).
// Error: another shape, dtype or device; no time step; x together with four planes.
SruScanResult sru_scan(const Tensor& u, const Tensor& x, const Tensor& weight_c, const Tensor& bias,
                       const Tensor& c0, const SruScanOptions& options = {});

// One step of one column, for the CPU loop and the CUDA kernel.
template <class T>
struct SruParameters {
  T v_f, v_r, b_f, b_r, mask;
};
template <class T>
struct SruInput {
  T candidate, forget, reset, skip, c_before;
};
template <class T>
struct SruGates {
  T f, r;
};
template <class T>
struct SruOutput {
  T c, h;
};
template <class T>
struct SruInputGrad {
  T candidate, forget, reset, skip, c_before;  // forget and reset are also the gradients of b_f and b_r
};

// Every step waits for the path from c_before to c, so the gates add v c_before last.
template <class T>
TANDEM_HD TANDEM_INLINE SruGates<T> sru_gates(const SruInput<T>& in, const SruParameters<T>& w) {
  return {sigmoid(w.v_f * in.c_before + (in.forget + w.b_f)),
          sigmoid(w.v_r * in.c_before + (in.reset + w.b_r))};
}
template <bool kTanh, class T>
TANDEM_HD TANDEM_INLINE SruOutput<T> sru_step(const SruInput<T>& in, const SruParameters<T>& w) {
  const auto [f, r] = sru_gates(in, w);
  const T c = (in.c_before - in.candidate) * f + in.candidate;
  const T g = kTanh ? fast_tanh(c) : c;
  return {c, in.skip + (g - in.skip) * (w.mask * r)};
}

// c is the state after the step, dh the gradient of the step's output, dc the gradient of c from later steps.
template <bool kTanh, class T>
TANDEM_HD TANDEM_INLINE SruInputGrad<T> sru_step_backward(const SruInput<T>& in, const SruParameters<T>& w,
                                                          T c, T dh, T dc) {
  const auto [f, r] = sru_gates(in, w);
  const T g = kTanh ? fast_tanh(c) : c;
  const T share = w.mask * r;  // h = share g(c) + (1 - share) skip
  const T dreset = dh * (g - in.skip) * share * (T(1) - r);
  const T dc_total = dh * share * (kTanh ? T(1) - g * g : T(1)) + dc;
  const T dforget = dc_total * (in.c_before - in.candidate) * f * (T(1) - f);
  return {dc_total * (T(1) - f), dforget, dreset, dh * (T(1) - share),
          dc_total * f + dforget * w.v_f + dreset * w.v_r};
}

// The inputs of both directions. x, c0 and mask may be undefined, as in sru_scan().
struct SruScanInputs {
  Tensor u, x, weight_c, bias, c0, mask;
  double rescale = 1.0;
  bool tanh = false;
};

namespace cpu {
// c, in the dtype of h, receives the states backward needs: all of them (T, B, D), or with fewer rows only
// every 16th of a large scan. It is undefined if no backward follows.
void sru_scan_forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const SruScanInputs& in);
// dx is undefined if it is not wanted or the skip has its plane in du. dc0 is always written; the gradients of
// weight_c and bias are, if their targets are defined. dh and dc_last are zeros if undefined.
void sru_scan_backward(const Tensor& du, const Tensor& dx, const Tensor& dc0, const GradTarget& dweight_c,
                       const GradTarget& dbias, const Tensor& dh, const Tensor& dc_last, const Tensor& c,
                       const SruScanInputs& in);
}  // namespace cpu

namespace cuda {
void sru_scan_forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const SruScanInputs& in);
void sru_scan_backward(const Tensor& du, const Tensor& dx, const Tensor& dc0, const GradTarget& dweight_c,
                       const GradTarget& dbias, const Tensor& dh, const Tensor& dc_last, const Tensor& c,
                       const SruScanInputs& in);
}  // namespace cuda

}  // namespace tandem
