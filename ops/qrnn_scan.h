// qrnn_scan: the QRNN's pooling over all time steps, f, fo or ifo, with zoneout, (T, B, k D) to (T, B, D).
//
// Bradbury, Merity, Xiong and Socher, "Quasi-Recurrent Neural Networks" (ICLR 2017), and the authors' library
// pytorch-qrnn. The two differ in the meaning of f: in the paper f keeps the old value, in the library it
// writes the new one. Here f and fo pooling follow the library, and ifo pooling, which only the paper has,
// follows the paper.
#pragma once
#include "tandem/core/macros.h"
#include "tandem/core/math.h"
#include "tandem/core/tensor.h"
#include "tandem/ops/dropout.h"

namespace tandem {

enum class QrnnPooling { f, fo, ifo };

// Returns the number k of planes of u, each D wide: z and f; then o; then i.
constexpr int qrnn_planes(QrnnPooling pooling) {
  return 2 + static_cast<int>(pooling);
}

struct QrnnScanOptions {
  QrnnPooling pooling = QrnnPooling::fo;
  // Probability that a channel keeps its old value at a time step. In training it is drawn for each (t, b, d)
  // from `key`; in evaluation all updates are multiplied by 1 - zoneout.
  double zoneout = 0;
  bool training = false;
  DropoutKey key = {};

  bool draws() const { return training && zoneout > 0; }
};

struct QrnnScanResult {
  Tensor h;       // (T, B, D)
  Tensor c_last;  // (B, D), the state after the last step, in memory of its own
};

// Computes for each of the B x D columns, in the order of t and starting from c0, with z = tanh(u_z) and the
// gates f = sigmoid(u_f), o = sigmoid(u_o), i = sigmoid(u_i):
//
//     f, fo:  c = m f z + (1 - m f) c_before             h = c  or  h = o c
//     ifo:    c = m i z + (1 - m (1 - f)) c_before       h = o c
//
// m is 1 without zoneout; with it, m is drawn, 0 or 1, in training, and 1 - zoneout in evaluation. For f and fo
// pooling that is the library's zoneout, a mask on the write gate that is not rescaled. For ifo pooling the
// paper has 1 - m (1 - f) in training; Tandem also masks i, so that a kept value stays exactly as it was, and
// adds the factor in evaluation.
//
// u is (T, B, k D): the first k = qrnn_planes(pooling) of the planes u_z, u_f, u_o, u_i, side by side along the
// last axis. c0 is (B, D), or zeros if undefined. Gradients flow to u and c0, from h, from c_last or from both.
// All are f32 or all are f64; on a GPU u and h may be bf16, and then c0 and c_last are f32.
// A tap hears of all steps, (T, B, D): qrnn_scan.forget, the factor of c_before; .input, that of z; .cell, c; and, but for
// f pooling, .output, o.
// Error: another shape, dtype or device; no time step; zoneout outside [0, 1).
QrnnScanResult qrnn_scan(const Tensor& u, const Tensor& c0 = {}, const QrnnScanOptions& options = {});

// One step of one column, for the CPU loop and the CUDA kernel. Gates for which a pooling has no plane are
// ignored.
template <class T>
struct QrnnInput {
  T candidate, forget, output, input, zone, c_before;  // zone: the m above
};
template <class T>
struct QrnnOutput {
  T c, h;
};
template <class T>
struct QrnnInputGrad {
  T candidate, forget, output, input, c_before;
};

// The activations of a step:  c = zone write z + (1 - zone erase) c_before.  For f and fo pooling write and
// erase are both f.
template <class T>
struct QrnnGates {
  T z, write, erase, output;
};
template <QrnnPooling kPooling, class T>
TANDEM_HD TANDEM_INLINE QrnnGates<T> qrnn_gates(const QrnnInput<T>& in) {
  if constexpr (kPooling == QrnnPooling::ifo) {
    return {fast_tanh(in.candidate), sigmoid(in.input), sigmoid(-in.forget), sigmoid(in.output)};
  } else {
    const T f = sigmoid(in.forget);
    return {fast_tanh(in.candidate), f, f, kPooling == QrnnPooling::f ? T(1) : sigmoid(in.output)};
  }
}

// c_before enters last, so that one multiply-add leads from one state to the next.
template <QrnnPooling kPooling, class T>
TANDEM_HD TANDEM_INLINE QrnnOutput<T> qrnn_step(const QrnnInput<T>& in) {
  const QrnnGates<T> g = qrnn_gates<kPooling>(in);
  const T c = (T(1) - in.zone * g.erase) * in.c_before + in.zone * g.write * g.z;
  return {c, g.output * c};
}

// c is the state after the step, dh the gradient of the step's output, dc the gradient of c from later steps.
template <QrnnPooling kPooling, class T>
TANDEM_HD TANDEM_INLINE QrnnInputGrad<T> qrnn_step_backward(const QrnnInput<T>& in, T c, T dh, T dc) {
  const QrnnGates<T> g = qrnn_gates<kPooling>(in);
  const T dc_total = dh * g.output + dc, update = in.zone * dc_total;
  const T dwrite = update * g.z * g.write * (T(1) - g.write);
  const T derase = -update * in.c_before * g.erase * (T(1) - g.erase);
  return {update * g.write * (T(1) - g.z * g.z), kPooling == QrnnPooling::ifo ? -derase : dwrite + derase,
          dh * c * g.output * (T(1) - g.output), dwrite, dc_total - update * g.erase};
}

// The inputs of both directions. c0 is zeros if undefined.
struct QrnnScanInputs {
  Tensor u, c0;
  QrnnScanOptions options;
};

namespace cpu {
// c (T, B, D), in the dtype of h, receives every state for backward. It is undefined if no backward follows, or
// if h holds the states (f pooling).
void qrnn_scan_forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const QrnnScanInputs& in);
// dh and dc_last are zeros if undefined.
void qrnn_scan_backward(const Tensor& du, const Tensor& dc0, const Tensor& dh, const Tensor& dc_last,
                        const Tensor& c, const QrnnScanInputs& in);
}  // namespace cpu

namespace cuda {
void qrnn_scan_forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const QrnnScanInputs& in);
void qrnn_scan_backward(const Tensor& du, const Tensor& dc0, const Tensor& dh, const Tensor& dc_last,
                        const Tensor& c, const QrnnScanInputs& in);
}  // namespace cuda

}  // namespace tandem
