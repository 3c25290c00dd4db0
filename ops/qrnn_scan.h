// qrnn_scan: the pooling of the Quasi-Recurrent Neural Network over all time steps as one operator, its
// activations included.
//
// Bradbury, Merity, Xiong and Socher, "Quasi-Recurrent Neural Networks" (ICLR 2017), and the authors' library
// pytorch-qrnn. They differ in what f is: the paper's f keeps the old value, the library's writes the new
// one. With f and fo pooling f is the library's here, with ifo pooling, which only the paper has, the
// paper's.
#pragma once
#include "core/macros.h"
#include "core/math.h"
#include "core/tensor.h"
#include "ops/dropout.h"

namespace tandem {

enum class QrnnPooling { f, fo, ifo };

// D-wide planes along the last axis of u: z, f; o; i.
constexpr int qrnn_planes(QrnnPooling pooling) {
  return 2 + static_cast<int>(pooling);
}

struct QrnnScanOptions {
  QrnnPooling pooling = QrnnPooling::fo;
  // How probably a channel keeps its old value at a time step. In training each (t, b, d) draws whether, from
  // `key`; in evaluation all updates are multiplied by 1 - zoneout.
  double zoneout = 0;
  bool training = false;
  DropoutKey key = {};

  bool draws() const { return training && zoneout > 0; }
};

struct QrnnScanResult {
  Tensor h;       // (T, B, D)
  Tensor c_last;  // (B, D), the state after the last step, in memory of its own
};

// For each column of the batch, in order of t and starting from c0, with z = tanh(u_z) and the gates
// sigmoid(u_f), sigmoid(u_o), sigmoid(u_i):
//
//     f, fo:  c = m f z + (1 - m f) c_before             h = c  or  h = o c
//     ifo:    c = m i z + (1 - m (1 - f)) c_before       h = o c
//
// m is 1 without zoneout, else 0 or 1, drawn, in training, and 1 - zoneout in evaluation. For f and fo that
// is the library's zoneout (a mask on the write gate, not rescaled). For ifo the paper has the 1 - m (1 - f)
// of training; that i is masked too, so that what is kept is kept as it was, and the factor in evaluation,
// are ours.
//
// u is (T, B, k D), the planes u_z, u_f, u_o, u_i one after the other along the last axis, the first k =
// qrnn_planes(pooling) of them. c0 is (B, D); undefined: zeros. Gradients flow to u and c0, from h, from
// c_last or from both. All are f32 or all are f64; on a GPU u and h may be bf16, and c0 and c_last are f32
// then. Error: another shape, dtype or device; no time step; zoneout outside [0, 1).
QrnnScanResult qrnn_scan(const Tensor& u, const Tensor& c0 = {}, const QrnnScanOptions& options = {});

// One step of one column, for the CPU loop and the CUDA kernel. What a pooling has no plane of is not looked
// at.
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

// c = zone write z + (1 - zone erase) c_before: write and erase are one gate, unless there is one for input.
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

// c_before comes last: from one state to the next is one multiplication with addition.
template <QrnnPooling kPooling, class T>
TANDEM_HD TANDEM_INLINE QrnnOutput<T> qrnn_step(const QrnnInput<T>& in) {
  const QrnnGates<T> g = qrnn_gates<kPooling>(in);
  const T c = (T(1) - in.zone * g.erase) * in.c_before + in.zone * g.write * g.z;
  return {c, g.output * c};
}

// c is the state after the step, dh the gradient of its output, dc what flows into c from the steps after it.
template <QrnnPooling kPooling, class T>
TANDEM_HD TANDEM_INLINE QrnnInputGrad<T> qrnn_step_backward(const QrnnInput<T>& in, T c, T dh, T dc) {
  const QrnnGates<T> g = qrnn_gates<kPooling>(in);
  const T dc_total = dh * g.output + dc, update = in.zone * dc_total;
  const T dwrite = update * g.z * g.write * (T(1) - g.write);
  const T derase = -update * in.c_before * g.erase * (T(1) - g.erase);
  return {update * g.write * (T(1) - g.z * g.z), kPooling == QrnnPooling::ifo ? -derase : dwrite + derase,
          dh * c * g.output * (T(1) - g.output), dwrite, dc_total - update * g.erase};
}

// What both directions read. Undefined c0: zeros.
struct QrnnScanInputs {
  Tensor u, c0;
  QrnnScanOptions options;
};

namespace cpu {
// c (T, B, D), in the dtype of h, is every state, for backward; undefined where none will follow, and where h
// is it.
void qrnn_scan_forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const QrnnScanInputs& in);
// Undefined dh, dc_last: zeros.
void qrnn_scan_backward(const Tensor& du, const Tensor& dc0, const Tensor& dh, const Tensor& dc_last,
                        const Tensor& c, const QrnnScanInputs& in);
}  // namespace cpu

namespace cuda {
void qrnn_scan_forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const QrnnScanInputs& in);
void qrnn_scan_backward(const Tensor& du, const Tensor& dc0, const Tensor& dh, const Tensor& dc_last,
                        const Tensor& c, const QrnnScanInputs& in);
}  // namespace cuda

}  // namespace tandem
