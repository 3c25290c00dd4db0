// sru_scan on the CPU: shares blocks of columns among the threads, sums over the batch, and decides what
// backward keeps.
#include "tandem/ops/sru_scan.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"
#include "tandem/core/streaming.h"
#include "tandem/core/tap.h"
#include "tandem/ops/scan_cpu/sru_blocks.h"
#include "tandem/ops/support/check_operand.h"
#include "tandem/ops/support/host_f64.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

using cpu::ColumnBlocks;
using cpu::kMaxColumns;
using cpu::kOnes;
using cpu::output_rows;
using cpu::row_of;
using cpu::Rows;
using cpu::rows_of;

// Returns the inputs of block `index`. T is the dtype of the arithmetic, U that of u.
template <class T, class U>
cpu::SruBlock<T, U> block_of(const SruScanInputs& in, const ColumnBlocks& blocks, int64_t index) {
  const auto [b, column, columns, first] = blocks[index];
  const int64_t d = blocks.width;
  const bool four = in.u.size(2) == 4 * d;
  const T* v = in.weight_c.data<T>() + column;
  const T* bias = in.bias.data<T>() + column;
  Rows<const T> skip = rows_of<T>(in.x, b, column);
  if constexpr (std::is_same_v<T, U>)
    if (four) skip = rows_of<T>(in.u, b, column + 3 * d);
  return {.steps = in.u.size(0),
          .columns = columns,
          .plane = d,
          .u = rows_of<U>(in.u, b, column),
          .skip = skip,
          .skip_scale = four ? T(1) : static_cast<T>(in.rescale),
          .v_f = v,
          .v_r = v + d,
          .b_f = bias,
          .b_r = bias + d,
          .mask = in.mask.defined() ? in.mask.data<T>() + first : kOnes<T>.data(),
          .c0 = row_of<T>(in.c0, first)};
}

template <class T, class U>
void forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const SruScanInputs& in) {
  const ColumnBlocks blocks(h.size(1), h.size(2));
  const bool in_chunks = c.defined() && c.size(0) < h.size(0);
  cpu::parallel_for(blocks.count(), h.numel() > kParallelGrain / 8, [&](int64_t i) {
    const cpu::SruBlock<T, U> block = block_of<T, U>(in, blocks, i);
    const auto [b, column, columns, first] = blocks[i];
    T* last = c_last.data<T>() + first;
    // Without backward, or if only some states are kept, one row serves as the state of every step.
    const Rows<T> one_row{last, 0}, kept = c.defined() ? output_rows<T>(c, b, column) : one_row;
    const Rows<T> states = in_chunks ? one_row : kept;
    cpu::sru_forward_block(in.tanh, in_chunks, block, states, kept, output_rows<T>(h, b, column));
    finish_streaming();
    if (states.stride > 0) std::copy_n(states.at(block.steps - 1), columns, last);
  });
}

// Sets target (2 D), or adds to it, two rows of the sums (B, 4, D), in the order of b, whatever the number of
// threads.
template <class T>
void sum_over_batch(const GradTarget& target, const Tensor& sums, int64_t first_row,
                    const ColumnBlocks& blocks) {
  if (!target.grad.defined()) return;
  if (!target.accumulate) fill(target.grad, 0);
  const int64_t n = 2 * blocks.width;
  T* y = target.grad.data<T>();
  for (int64_t b = 0; b < blocks.batch; ++b) {
    const T* row = sums.data<T>() + (4 * b + first_row) * blocks.width;
    for (int64_t j = 0; j < n; ++j) y[j] += row[j];
  }
}

template <class T, class U>
void backward(const Tensor& du, const Tensor& dx, const Tensor& dc0, const GradTarget& dweight_c,
              const GradTarget& dbias, const Tensor& dh, const Tensor& dc_last, const Tensor& c,
              const SruScanInputs& in) {
  const ColumnBlocks blocks(c.size(1), c.size(2));
  const int64_t d = blocks.width;
  const bool four = in.u.size(2) == 4 * d;
  copy_or_zeros(dc0, dc_last);
  const Tensor sums = zeros({blocks.batch, 4, d}, c.dtype());  // dv_f, dv_r, db_f, db_r of each batch row
  const bool in_chunks = c.size(0) < in.u.size(0);
  cpu::parallel_for(blocks.count(), in.u.numel() > kParallelGrain / 8, [&](int64_t i) {
    const auto [b, column, columns, first] = blocks[i];
    T unwanted[kMaxColumns];
    Rows<T> dskip{unwanted, 0};
    if (dx.defined()) dskip = output_rows<T>(dx, b, column);
    if constexpr (std::is_same_v<T, U>)
      if (four) dskip = output_rows<T>(du, b, column + 3 * d);
    T* sum = sums.data<T>() + 4 * b * d + column;
    cpu::sru_backward_block(in.tanh, in_chunks, block_of<T, U>(in, blocks, i), rows_of<T>(c, b, column),
                            rows_of<T>(dh, b, column),
                            {.du = output_rows<U>(du, b, column),
                             .dskip = dskip,
                             .carry = dc0.data<T>() + first,
                             .dv_f = sum,
                             .dv_r = sum + d,
                             .db_f = sum + 2 * d,
                             .db_r = sum + 3 * d});
    finish_streaming();
  });
  sum_over_batch<T>(dweight_c, sums, 0, blocks);
  sum_over_batch<T>(dbias, sums, 2, blocks);
}

// Returns the dtype of x and h. On a CPU only u may be bf16.
DType hidden_dtype(const Tensor& u) {
  return u.device().is_cpu() ? parameter_dtype(u.dtype()) : u.dtype();
}

// Returns the shape of the states kept for backward: all of them or, of a large scan on a CPU, those before
// each chunk of kSruChunk steps but the first.
Shape kept_states(const Tensor& h) {
  const bool in_chunks = h.device().is_cpu() && worth_streaming(h.nbytes()) && h.size(0) > cpu::kSruChunk;
  return in_chunks ? h.shape().with(0, (h.size(0) - 1) / cpu::kSruChunk) : h.shape();
}

// Returns memory for a gradient like x: that of `done` if no other tensor shares it, which a CPU's backward may
// overwrite because it reads each strip before it writes there. That saves the largest tensor of a layer, and
// cache lines.
Tensor reuse_buffer_or_new(const Tensor& done, const Tensor& x) {
  return done.sole_owner() && done.device().is_cpu() ? done.detach() : empty_like(x);
}

void check_inputs(const SruScanInputs& in) {
  const Tensor& u = in.u;
  check_defined("sru_scan", {{"u", u}, {"weight_c", in.weight_c}, {"bias", in.bias}});
  TANDEM_CHECK(is_floating(u.dtype()), "sru_scan: u is {}; it must be floating", u.summary());
  TANDEM_CHECK(u.rank() == 3 && u.size(0) > 0,
               "sru_scan: u is {}; it must be (T, B, 3 D) or (T, B, 4 D) with at least one time step",
               u.shape().str());
  const int64_t d = in.weight_c.numel() / 2;
  TANDEM_CHECK(in.weight_c.rank() == 1 && d > 0 && in.weight_c.numel() == 2 * d,
               "sru_scan: weight_c is {}; it must be (2 D), v_f then v_r", in.weight_c.shape().str());
  const bool four = u.size(2) == 4 * d;
  TANDEM_CHECK(four || u.size(2) == 3 * d,
               "sru_scan: u is {} and weight_c {}: the last axis of u must be 3 D or 4 D, {} or {}",
               u.shape().str(), in.weight_c.shape().str(), 3 * d, 4 * d);
  TANDEM_CHECK(
      !four || !in.x.defined(),
      "sru_scan: u is {}, four planes of {}, whose last is the skip, and x {} is given too; drop one of them",
      u.shape().str(), d, in.x.defined() ? in.x.shape().str() : "");
  TANDEM_CHECK(!four || u.dtype() != DType::bf16 || u.device().is_cuda(),
               "sru_scan: u is {}: four planes cannot be bf16 on a CPU; give three, or f32", u.summary());
  const DType parameter = parameter_dtype(u.dtype());
  const MainOperand main{"sru_scan", "u", u};
  check_operand(main, "weight_c", in.weight_c, {2 * d}, parameter);
  check_operand(main, "bias", in.bias, {2 * d}, parameter);
  if (in.x.defined()) check_operand(main, "x", in.x, {u.size(0), u.size(1), d}, hidden_dtype(u));
  if (in.c0.defined()) check_operand(main, "c0", in.c0, {u.size(1), d}, parameter);
  if (in.mask.defined()) check_operand(main, "options.mask", in.mask, {u.size(1), d}, parameter);
}

// Offers the gates and the state of every step, (T, B, D).
void offer_values(const SruScanInputs& in, const Shape& shape) {
  const Tensor u = host_f64(in.u), v = host_f64(in.weight_c), bias = host_f64(in.bias), c0 = host_f64(in.c0);
  const Tensor forget(shape, DType::f64), reset(shape, DType::f64), cell(shape, DType::f64);
  const int64_t d = shape[2], columns = shape[1] * d, planes = u.size(2) / d;
  for (int64_t i = 0; i < columns; ++i) {
    const int64_t j = i % d;
    const SruParameters<double> w{v.data<double>()[j], v.data<double>()[d + j], bias.data<double>()[j],
                                  bias.data<double>()[d + j], 1};
    double c = c0.defined() ? c0.data<double>()[i] : 0;
    for (int64_t t = 0; t < shape[0]; ++t) {
      const int64_t at = t * columns + i;
      const double* plane = u.data<double>() + (at - j) * planes + j;
      const SruInput<double> step{plane[0], plane[d], plane[2 * d], 0, c};
      const auto [f, r] = sru_gates(step, w);
      c = sru_step<false>(step, w).c;
      forget.data<double>()[at] = f;
      reset.data<double>()[at] = r;
      cell.data<double>()[at] = c;
    }
  }
  Tap::offer("sru_scan.forget", forget);
  Tap::offer("sru_scan.reset", reset);
  Tap::offer("sru_scan.cell", cell);
}

}  // namespace

namespace cpu {

void sru_scan_forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const SruScanInputs& in) {
  if (in.u.dtype() == DType::bf16) return forward<float, bf16>(h, c, c_last, in);
  dispatch_float(in.u.dtype(), "sru_scan", [&]<class T>() { forward<T, T>(h, c, c_last, in); });
}

void sru_scan_backward(const Tensor& du, const Tensor& dx, const Tensor& dc0, const GradTarget& dweight_c,
                       const GradTarget& dbias, const Tensor& dh, const Tensor& dc_last, const Tensor& c,
                       const SruScanInputs& in) {
  if (in.u.dtype() == DType::bf16)
    return backward<float, bf16>(du, dx, dc0, dweight_c, dbias, dh, dc_last, c, in);
  dispatch_float(in.u.dtype(), "sru_scan",
                 [&]<class T>() { backward<T, T>(du, dx, dc0, dweight_c, dbias, dh, dc_last, c, in); });
}

}  // namespace cpu

SruScanResult sru_scan(const Tensor& u, const Tensor& x, const Tensor& weight_c, const Tensor& bias,
                       const Tensor& c0, const SruScanOptions& options) {
  const SruScanInputs in{u, x, weight_c, bias, c0, options.mask, options.rescale, options.tanh};
  check_inputs(in);
  const Shape shape{u.size(0), u.size(1), weight_c.numel() / 2};
  const std::vector<Tensor> inputs{u, x, weight_c, bias, c0};
  const bool recorded = Tape::current() && std::any_of(inputs.begin(), inputs.end(), needs_grad);
  const Tensor h(shape, hidden_dtype(u), u.device());
  const Tensor c_last(shape.tail(), parameter_dtype(u.dtype()), u.device());
  const Tensor c = recorded ? Tensor(kept_states(h), h.dtype(), h.device()) : Tensor();
  TANDEM_DISPATCH(u.device(), sru_scan_forward(h, c, c_last, in));
  if (Tap::is_heard()) offer_values(in, shape);
  const std::vector<Tensor> ys = record("sru_scan", {h, c_last}, inputs, [in, c](const Grads& dys) -> Grads {
    const Tensor du = reuse_buffer_or_new(in.u, in.u),
                 dc0(c.shape().tail(), parameter_dtype(c.dtype()), c.device());
    const Tensor dx = needs_grad(in.x) ? reuse_buffer_or_new(dys[0], in.x) : Tensor();
    const GradTarget dweight_c = grad_target(in.weight_c);
    const GradTarget dbias = grad_target(in.bias);
    TANDEM_DISPATCH(c.device(), sru_scan_backward(du, dx, dc0, dweight_c, dbias, dys[0], dys[1], c, in));
    return {du, dx, dweight_c.grad, dbias.grad, dc0};
  });
  return {ys[0], ys[1]};
}

}  // namespace tandem
