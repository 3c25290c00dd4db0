// linear_scan on the CPU: one block of columns of one batch row at a time, over all time steps.
#include "tandem/ops/linear_scan.h"

#include <algorithm>

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
using cpu::output_rows;
using cpu::row_of;
using cpu::Rows;
using cpu::rows_of;

// The inputs of one time step of a block of columns.
template <class T>
struct Step {
  int64_t columns;
  T first;  // 1 in the first step of a text, else 0
  const T *p, *q, *h_before;
};

template <ScanForm kForm, class T>
TANDEM_INLINE void forward_body(const Step<T>& in, T* h) {
#pragma omp simd
  for (int64_t j = 0; j < in.columns; ++j) {
    const ScanCoefficients<T> c = scan_coefficients<kForm>(in.p[j], in.q[j], in.first);
    h[j] = c.a * in.h_before[j] + c.b;
  }
}

// The rows that backward writes, and dh, which it reads. `carry` enters as the gradient of the state after the step, from later steps, and
// leaves as that of the state before it.
template <class T>
struct StepGrads {
  T *dp, *dq, *carry;
  const T* dh;
};

// Computes, with G the gradient of h_t from its output and from later steps, going back in time:
//
//     G = dh_t + carry        da_t = G h_{t-1}        db_t = G        carry = a_t G
//
// and from da and db, through the form, dp and dq.
template <ScanForm kForm, class T>
TANDEM_INLINE void backward_body(const Step<T>& in, const StepGrads<T>& out) {
#pragma omp simd
  for (int64_t j = 0; j < in.columns; ++j) {
    const ScanInputGrad<T> d =
        scan_backward<kForm>(in.p[j], in.q[j], in.first, in.h_before[j], out.dh[j] + out.carry[j]);
    out.dp[j] = d.p;
    out.dq[j] = d.q;
    out.carry[j] = d.h_before;
  }
}

template <class T>
TANDEM_INLINE void choose(ScanForm form, const Step<T>& in, T* h) {
  switch (form) {
    case ScanForm::coefficients:
      return forward_body<ScanForm::coefficients>(in, h);
    case ScanForm::min_gru:
      return forward_body<ScanForm::min_gru>(in, h);
    case ScanForm::rg_lru:
      return forward_body<ScanForm::rg_lru>(in, h);
  }
}
template <class T>
TANDEM_INLINE void choose(ScanForm form, const Step<T>& in, const StepGrads<T>& out) {
  switch (form) {
    case ScanForm::coefficients:
      return backward_body<ScanForm::coefficients>(in, out);
    case ScanForm::min_gru:
      return backward_body<ScanForm::min_gru>(in, out);
    case ScanForm::rg_lru:
      return backward_body<ScanForm::rg_lru>(in, out);
  }
}
TANDEM_SIMD void step(ScanForm form, const Step<float>& in, float* h) {
  choose(form, in, h);
}
TANDEM_SIMD void step(ScanForm form, const Step<double>& in, double* h) {
  choose(form, in, h);
}
TANDEM_SIMD void step(ScanForm form, const Step<float>& in, const StepGrads<float>& out) {
  choose(form, in, out);
}
TANDEM_SIMD void step(ScanForm form, const Step<double>& in, const StepGrads<double>& out) {
  choose(form, in, out);
}

// The inputs of a block of columns.
template <class T>
struct Block : ColumnBlock {
  Rows<const T> p, q;
  const T* h0;
  bool text_begins;

  Block(const LinearScanInputs& in, const ColumnBlocks& blocks, int64_t index)
      : ColumnBlock(blocks[index]),
        p(rows_of<T>(in.p, b, column)),
        q(rows_of<T>(in.q, b, column)),
        h0(row_of<T>(in.h0, first)),
        text_begins(!in.h0.defined()) {}
  // The states are those after each step.
  template <class U>
  Step<T> step(int64_t t, const Rows<U>& states) const {
    return {columns, T(t == 0 && text_begins ? 1 : 0), p.at(t), q.at(t), t > 0 ? states.at(t - 1) : h0};
  }
};

template <class T>
void forward(const Tensor& h, const Tensor& h_last, const LinearScanInputs& in) {
  const ColumnBlocks blocks(h.size(1), h.size(2));
  const int64_t steps = h.size(0);
  cpu::parallel_for(blocks.count(), h.numel() > kParallelGrain / 8, [&](int64_t i) {
    const Block<T> block(in, blocks, i);
    const Rows<T> states = output_rows<T>(h, block.b, block.column);
    for (int64_t t = 0; t < steps; ++t) step(in.form, block.step(t, states), states.at(t));
    std::copy_n(states.at(steps - 1), block.columns, h_last.data<T>() + block.first);
  });
}

template <class T>
void backward(const Tensor& dp, const Tensor& dq, const Tensor& dh0, const Tensor& dh, const Tensor& dh_last,
              const Tensor& h, const LinearScanInputs& in) {
  const ColumnBlocks blocks(h.size(1), h.size(2));
  copy_or_zeros(dh0, dh_last);
  cpu::parallel_for(blocks.count(), h.numel() > kParallelGrain / 8, [&](int64_t i) {
    const Block<T> block(in, blocks, i);
    const Rows<const T> states = rows_of<T>(h, block.b, block.column),
                        dh_rows = rows_of<T>(dh, block.b, block.column);
    const Rows<T> dp_rows = output_rows<T>(dp, block.b, block.column),
                  dq_rows = output_rows<T>(dq, block.b, block.column);
    T* const carry = dh0.data<T>() + block.first;
    for (int64_t t = h.size(0) - 1; t >= 0; --t)
      step(in.form, block.step(t, states), StepGrads<T>{dp_rows.at(t), dq_rows.at(t), carry, dh_rows.at(t)});
  });
}

ScanCoefficients<double> coefficients_of(ScanForm form, double p, double q, double first) {
  if (form == ScanForm::min_gru) return scan_coefficients<ScanForm::min_gru>(p, q, first);
  if (form == ScanForm::rg_lru) return scan_coefficients<ScanForm::rg_lru>(p, q, first);
  return scan_coefficients<ScanForm::coefficients>(p, q, first);
}

// Offers a, b and h of every step.
void offer_values(const LinearScanInputs& in, const Tensor& h) {
  const Tensor p = host_f64(in.p), q = host_f64(in.q), decay = empty_like(p), input = empty_like(p);
  const int64_t columns = p.size(1) * p.size(2);
  for (int64_t i = 0; i < p.numel(); ++i) {
    const bool text_begins = i < columns && !in.h0.defined();
    const auto [a, b] =
        coefficients_of(in.form, p.data<double>()[i], q.data<double>()[i], text_begins ? 1 : 0);
    decay.data<double>()[i] = a;
    input.data<double>()[i] = b;
  }
  Tap::offer("linear_scan.decay", decay);
  Tap::offer("linear_scan.input", input);
  Tap::offer("linear_scan.state", h);
}

}  // namespace

namespace cpu {

void linear_scan_forward(const Tensor& h, const Tensor& h_last, const LinearScanInputs& in) {
  dispatch_float(h.dtype(), "linear_scan", [&]<class T>() { forward<T>(h, h_last, in); });
}

void linear_scan_backward(const Tensor& dp, const Tensor& dq, const Tensor& dh0, const Tensor& dh,
                          const Tensor& dh_last, const Tensor& h, const LinearScanInputs& in) {
  dispatch_float(h.dtype(), "linear_scan", [&]<class T>() { backward<T>(dp, dq, dh0, dh, dh_last, h, in); });
}

}  // namespace cpu

LinearScanResult linear_scan(const Tensor& p, const Tensor& q, const Tensor& h0, ScanForm form) {
  check_floating("linear_scan", {{"p", p}, {"q", q}});
  TANDEM_CHECK(p.rank() == 3 && p.size(0) > 0 && p.size(2) > 0,
               "linear_scan: p is {}; it must be (T, B, D) with at least one time step and one column",
               p.shape().str());
  const DType state_dtype = parameter_dtype(p.dtype());
  const MainOperand main{"linear_scan", "p", p};
  check_operand(main, "q", q, p.shape(), p.dtype());
  if (h0.defined()) check_operand(main, "h0", h0, p.shape().tail(), state_dtype);
  const LinearScanInputs in{p, q, h0, form};
  const Tensor h = empty_like(p), h_last(p.shape().tail(), state_dtype, p.device());
  TANDEM_DISPATCH(p.device(), linear_scan_forward(h, h_last, in));
  if (Tap::is_heard()) offer_values(in, h);
  const std::vector<Tensor> ys =
      record("linear_scan", {h, h_last}, {p, q, h0}, [in, h](const Grads& dys) -> Grads {
        const Tensor dp = empty_like(h), dq = empty_like(h);
        const Tensor dh0(h.shape().tail(), parameter_dtype(h.dtype()), h.device());
        TANDEM_DISPATCH(h.device(), linear_scan_backward(dp, dq, dh0, dys[0], dys[1], h, in));
        return {dp, dq, dh0};
      });
  return {ys[0], ys[1]};
}

}  // namespace tandem
