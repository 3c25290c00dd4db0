// qrnn_scan on the CPU: one block of columns of one batch row at a time, over all time steps.
#include "tandem/ops/qrnn_scan.h"

#include <algorithm>
#include <span>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"
#include "tandem/core/tap.h"
#include "tandem/ops/scan_cpu/column_blocks.h"
#include "tandem/ops/support/check_operand.h"
#include "tandem/ops/support/host_f64.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

using cpu::ColumnBlock;
using cpu::ColumnBlocks;
using cpu::kMaxColumns;
using cpu::output_rows;
using cpu::row_of;
using cpu::Rows;
using cpu::rows_of;

// The inputs of one time step of a block, and below its outputs in each direction.
template <class T>
struct Step {
  int64_t columns, plane;  // plane: distance from one plane of u, or of du, to the next, in elements
  const T *u, *zone, *c_before;

  template <QrnnPooling kPooling>
  TANDEM_INLINE QrnnInput<T> input(int64_t j) const {
    constexpr int kPlanes = qrnn_planes(kPooling);
    return {
        u[j],    u[plane + j], kPlanes > 2 ? u[2 * plane + j] : T(0), kPlanes > 3 ? u[3 * plane + j] : T(0),
        zone[j], c_before[j]};
  }
};
template <class T>
struct Forward {
  T *h, *c;
};
// `carry` enters as the gradient of the state after the step and leaves as that of the state before it.
template <class T>
struct Backward {
  const T *c, *dh;
  T *du, *carry;
};

template <QrnnPooling kPooling, class T>
TANDEM_INLINE void step_body(const Step<T>& in, const Forward<T>& out) {
#pragma omp simd
  for (int64_t j = 0; j < in.columns; ++j) {
    const QrnnOutput<T> y = qrnn_step<kPooling>(in.template input<kPooling>(j));
    out.c[j] = y.c;
    out.h[j] = y.h;
  }
}

// Computes, with G the gradient of c from h and from later steps, going back in time (the gates are computed
// again):
//
//     G = dh o + G_after               du_z = G m w (1 - z^2)        du_o = dh c o (1 - o)
//     G_before = G (1 - m e)           du_w = G m z w (1 - w)        du_e = -G m c_before e (1 - e)
//
// where w is the gate that writes and e the one that erases. For f and fo pooling both are f, and du_f = du_w +
// du_e; for ifo pooling w is i and e is 1 - f, so that du_i = du_w and du_f = -du_e. Bradbury et al. 2017.
template <QrnnPooling kPooling, class T>
TANDEM_INLINE void step_body(const Step<T>& in, const Backward<T>& out) {
  constexpr int kPlanes = qrnn_planes(kPooling);
#pragma omp simd
  for (int64_t j = 0; j < in.columns; ++j) {
    const QrnnInputGrad<T> d =
        qrnn_step_backward<kPooling>(in.template input<kPooling>(j), out.c[j], out.dh[j], out.carry[j]);
    out.du[j] = d.candidate;
    out.du[in.plane + j] = d.forget;
    if constexpr (kPlanes > 2) out.du[2 * in.plane + j] = d.output;
    if constexpr (kPlanes > 3) out.du[3 * in.plane + j] = d.input;
    out.carry[j] = d.c_before;
  }
}

template <class T, class Out>
TANDEM_INLINE void choose(QrnnPooling pooling, const Step<T>& in, const Out& out) {
  switch (pooling) {
    case QrnnPooling::f:
      return step_body<QrnnPooling::f>(in, out);
    case QrnnPooling::fo:
      return step_body<QrnnPooling::fo>(in, out);
    case QrnnPooling::ifo:
      return step_body<QrnnPooling::ifo>(in, out);
  }
}

TANDEM_SIMD void step(QrnnPooling pooling, const Step<float>& in, const Forward<float>& out) {
  choose(pooling, in, out);
}
TANDEM_SIMD void step(QrnnPooling pooling, const Step<double>& in, const Forward<double>& out) {
  choose(pooling, in, out);
}
TANDEM_SIMD void step(QrnnPooling pooling, const Step<float>& in, const Backward<float>& out) {
  choose(pooling, in, out);
}
TANDEM_SIMD void step(QrnnPooling pooling, const Step<double>& in, const Backward<double>& out) {
  choose(pooling, in, out);
}

// The zoneout factor m of each column: one row for all time steps, or one drawn for each step.
template <class T>
class Zone {
 public:
  // For the columns first .. first + columns - 1 of (B, D); `stride` is B D.
  Zone(const QrnnScanOptions& options, int64_t first, int64_t columns, int64_t stride)
      : options_(options), first_(first), columns_(columns), stride_(stride) {
    std::fill_n(row_, columns, static_cast<T>(options.training ? 1 : 1 - options.zoneout));
  }
  const T* at(int64_t t) {
    if (!options_.draws()) return row_;
    cpu::dropout_mask_row(row_, first_ + t * stride_, columns_, options_.zoneout, options_.key);
    for (T& factor : std::span(row_, columns_)) factor = factor > 0 ? T(1) : T(0);
    return row_;
  }

 private:
  const QrnnScanOptions& options_;
  int64_t first_, columns_, stride_;
  T row_[kMaxColumns];
};

// The inputs of a block of columns.
template <class T>
struct Block : ColumnBlock {
  int64_t plane;
  Rows<const T> u;
  const T* c0;
  Zone<T> zone;

  Block(const QrnnScanInputs& in, const ColumnBlocks& blocks, int64_t index)
      : ColumnBlock(blocks[index]),
        plane(blocks.width),
        u(rows_of<T>(in.u, b, column)),
        c0(row_of<T>(in.c0, first)),
        zone(in.options, first, columns, blocks.batch * plane) {}
  Step<T> step(int64_t t, const T* c_before) { return {columns, plane, u.at(t), zone.at(t), c_before}; }
};

template <class T>
void forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const QrnnScanInputs& in) {
  const ColumnBlocks blocks(h.size(1), h.size(2));
  const int64_t steps = h.size(0);
  cpu::parallel_for(blocks.count(), h.numel() > kParallelGrain / 8, [&](int64_t i) {
    Block<T> block(in, blocks, i);
    const Rows<T> h_rows = output_rows<T>(h, block.b, block.column);
    T* const last = c_last.data<T>() + block.first;
    const Rows<T> states = c.defined() ? output_rows<T>(c, block.b, block.column) : Rows<T>{last, 0};
    for (int64_t t = 0; t < steps; ++t)
      step(in.options.pooling, block.step(t, t > 0 ? states.at(t - 1) : block.c0),
           Forward<T>{h_rows.at(t), states.at(t)});
    if (c.defined()) std::copy_n(states.at(steps - 1), block.columns, last);
  });
}

template <class T>
void backward(const Tensor& du, const Tensor& dc0, const Tensor& dh, const Tensor& dc_last, const Tensor& c,
              const QrnnScanInputs& in) {
  const ColumnBlocks blocks(c.size(1), c.size(2));
  copy_or_zeros(dc0, dc_last);
  cpu::parallel_for(blocks.count(), c.numel() > kParallelGrain / 8, [&](int64_t i) {
    Block<T> block(in, blocks, i);
    const Rows<const T> states = rows_of<T>(c, block.b, block.column),
                        dh_rows = rows_of<T>(dh, block.b, block.column);
    const Rows<T> du_rows = output_rows<T>(du, block.b, block.column);
    T* const carry = dc0.data<T>() + block.first;
    for (int64_t t = c.size(0) - 1; t >= 0; --t)
      step(in.options.pooling, block.step(t, t > 0 ? states.at(t - 1) : block.c0),
           Backward<T>{states.at(t), dh_rows.at(t), du_rows.at(t), carry});
  });
}

void check_inputs(const QrnnScanInputs& in) {
  const Tensor &u = in.u, &c0 = in.c0;
  check_floating("qrnn_scan", {{"u", u}});
  const int planes = qrnn_planes(in.options.pooling);
  TANDEM_CHECK(u.rank() == 3 && u.size(0) > 0 && u.size(2) > 0 && u.size(2) % planes == 0,
               "qrnn_scan: u is {}; for this pooling it must be (T, B, {} D) with at least one time step",
               u.shape().str(), planes);
  TANDEM_CHECK(in.options.zoneout >= 0 && in.options.zoneout < 1,
               "qrnn_scan: options.zoneout is {}; it must lie in [0, 1)", in.options.zoneout);
  if (!c0.defined()) return;
  const Shape row{u.size(1), u.size(2) / planes};
  check_operand({"qrnn_scan", "u", u}, "c0", c0, row, parameter_dtype(u.dtype()));
}

// Offers the gates and the state of every step, (T, B, D).
template <QrnnPooling kPooling>
void offer_values(const QrnnScanInputs& in, const Shape& shape) {
  constexpr int kPlanes = qrnn_planes(kPooling);
  const Tensor u = host_f64(in.u), c0 = host_f64(in.c0);
  const Tensor forget(shape, DType::f64), input(shape, DType::f64), output(shape, DType::f64),
      cell(shape, DType::f64);
  const int64_t d = shape[2], columns = shape[1] * d;
  for (int64_t at = 0; at < shape.numel(); ++at) {
    const double* plane = u.data<double>() + at / d * kPlanes * d + at % d;
    QrnnInput<double> step{plane[0], plane[d], 0, 0, 1 - in.options.zoneout, 0};
    if constexpr (kPlanes > 2) step.output = plane[2 * d];
    if constexpr (kPlanes > 3) step.input = plane[3 * d];
    if (in.options.draws())
      step.zone = dropout_word(in.options.key, at) >= keep_threshold(in.options.zoneout) ? 1 : 0;
    if (at >= columns) step.c_before = cell.data<double>()[at - columns];
    if (at < columns && c0.defined()) step.c_before = c0.data<double>()[at];
    const QrnnGates<double> gates = qrnn_gates<kPooling>(step);
    forget.data<double>()[at] = 1 - step.zone * gates.erase;
    input.data<double>()[at] = step.zone * gates.write;
    output.data<double>()[at] = gates.output;
    cell.data<double>()[at] = qrnn_step<kPooling>(step).c;
  }
  Tap::offer("qrnn_scan.forget", forget);
  Tap::offer("qrnn_scan.input", input);
  if (kPooling != QrnnPooling::f) Tap::offer("qrnn_scan.output", output);
  Tap::offer("qrnn_scan.cell", cell);
}

void offer_values(const QrnnScanInputs& in, const Shape& shape) {
  switch (in.options.pooling) {
    case QrnnPooling::f:
      return offer_values<QrnnPooling::f>(in, shape);
    case QrnnPooling::fo:
      return offer_values<QrnnPooling::fo>(in, shape);
    case QrnnPooling::ifo:
      return offer_values<QrnnPooling::ifo>(in, shape);
  }
}

}  // namespace

namespace cpu {

void qrnn_scan_forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const QrnnScanInputs& in) {
  dispatch_float(in.u.dtype(), "qrnn_scan", [&]<class T>() { forward<T>(h, c, c_last, in); });
}

void qrnn_scan_backward(const Tensor& du, const Tensor& dc0, const Tensor& dh, const Tensor& dc_last,
                        const Tensor& c, const QrnnScanInputs& in) {
  dispatch_float(in.u.dtype(), "qrnn_scan", [&]<class T>() { backward<T>(du, dc0, dh, dc_last, c, in); });
}

}  // namespace cpu

QrnnScanResult qrnn_scan(const Tensor& u, const Tensor& c0, const QrnnScanOptions& options) {
  const QrnnScanInputs in{u, c0, options};
  check_inputs(in);
  const Shape shape{u.size(0), u.size(1), u.size(2) / qrnn_planes(options.pooling)};
  const bool recorded = Tape::current() && (needs_grad(u) || needs_grad(c0));
  const Tensor h(shape, u.dtype(), u.device());
  const Tensor c_last(shape.tail(), parameter_dtype(u.dtype()), u.device());
  const Tensor states = recorded && options.pooling != QrnnPooling::f ? empty_like(h) : Tensor();
  TANDEM_DISPATCH(u.device(), qrnn_scan_forward(h, states, c_last, in));
  if (Tap::is_heard()) offer_values(in, shape);
  const Tensor c = states.defined() ? states : h;  // with f pooling, h is the states
  const std::vector<Tensor> ys =
      record("qrnn_scan", {h, c_last}, {u, c0}, [in, c](const Grads& dys) -> Grads {
        const Tensor du = empty_like(in.u), dc0(c.shape().tail(), parameter_dtype(c.dtype()), c.device());
        TANDEM_DISPATCH(c.device(), qrnn_scan_backward(du, dc0, dys[0], dys[1], c, in));
        return {du, dc0};
      });
  return {ys[0], ys[1]};
}

}  // namespace tandem
