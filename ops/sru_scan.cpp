// The SRU recurrence on the CPU: one block of columns of one batch row at a time, over all time steps, so
// that its carry and the sums for its parameters stay in cache.
#include "ops/sru_scan.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "autograd/tape.h"
#include "core/array.h"
#include "core/check.h"
#include "core/parallel.h"
#include "core/streaming.h"
#include "ops/operands.h"
#include "ops/round_bf16.h"
#include "ops/scan_blocks.h"
#include "ops/weights.h"

namespace tandem {
namespace {

using cpu::ColumnBlocks;
using cpu::kMaxColumns;
using cpu::kOnes;
using cpu::kZeros;
using cpu::output_rows;
using cpu::Rows;
using cpu::rows_of;

// What one block reads in both directions. u is in T, or, beside f32, in bf16.
template <class T, class U>
struct Block {
  int64_t steps, columns;
  int64_t plane;  // distance between the planes of u, and of du
  Rows<const U> u;
  Rows<const T> skip;
  T skip_scale;
  const T *v_f, *v_r, *b_f, *b_r, *mask, *c0;
};

// Of large scans only the states before each chunk of so many time steps are kept, and backward computes the
// others again, chunk by chunk, in cache: 15 of 16 need no memory, and the way there and back.
constexpr int64_t kChunk = 16;

// A time step goes through its columns in strips. What a strip of a later one reads is asked for, and what
// this one wrote leaves, between the arithmetic of two strips: whole rows at once would wait for memory
// first, and compute while it rests.
constexpr int64_t kStrip = 64;

// A strip of results in U, computed in T: in place, or in the first cache where it is to be rounded or to go
// past the caches.
template <bool kStream, class T, class U>
struct OutputStrip {
  static constexpr bool kRound = !std::is_same_v<T, U>;
  T scratch[kStream || kRound ? kStrip : 1];

  TANDEM_INLINE T* begin([[maybe_unused]] U* target) {
    if constexpr (kStream || kRound)
      return scratch;
    else
      return target;
  }
  TANDEM_INLINE void end([[maybe_unused]] U* target, [[maybe_unused]] int64_t columns) const {
    if constexpr (kRound) {
      U rounded[kStrip];
      cpu::round_to_bf16(kStream ? rounded : target, scratch, columns);
      if (kStream) stream_row(target, rounded, columns);
    } else if constexpr (kStream) {
      stream_row(target, scratch, columns);
    }
  }
};

// A strip of u in T: as it lies there, or widened into the first cache. (Widening within the loop over
// columns halves the width of its vectors.)
template <class T, class U>
struct InputStrip {
  static constexpr bool kWiden = !std::is_same_v<T, U>;
  T scratch[kWiden ? kStrip : 1];

  TANDEM_INLINE const T* read(const U* x, [[maybe_unused]] int64_t columns) {
    if constexpr (kWiden) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) scratch[j] = static_cast<T>(x[j]);
      return scratch;
    } else {
      return x;
    }
  }
};

// The rows of a time step lie far from those of the next, where no hardware looks for them by itself.
constexpr int64_t kAhead = 2;  // time steps

template <class T, class U>
TANDEM_INLINE void prefetch_inputs(const Block<T, U>& in, int64_t t, int64_t first, int64_t columns) {
  for (int64_t plane = 0; plane < 3; ++plane) prefetch_row(in.u.at(t) + plane * in.plane + first, columns);
  prefetch_row(in.skip.at(t) + first, columns);
}

template <bool kTanh, bool kStream, class T, class U>
TANDEM_INLINE void forward_strip(const Block<T, U>& in, int64_t t, int64_t first, int64_t columns,
                                 const T* c_before, T* c_out, T* h) {
  InputStrip<T, U> in_c, in_f, in_r;
  OutputStrip<kStream, T, T> h_strip;
  const U* u = in.u.at(t) + first;
  const T* u_c = in_c.read(u, columns);
  const T* u_f = in_f.read(u + in.plane, columns);
  const T* u_r = in_r.read(u + 2 * in.plane, columns);
  const T* skip = in.skip.at(t) + first;
  const T *v_f = in.v_f + first, *v_r = in.v_r + first, *b_f = in.b_f + first, *b_r = in.b_r + first,
          *mask = in.mask + first;
  const T scale = in.skip_scale;
  T* h_out = h_strip.begin(h);
#pragma omp simd
  for (int64_t j = 0; j < columns; ++j) {
    const SruOutput<T> out =
        sru_step<kTanh>(SruInput<T>{u_c[j], u_f[j], u_r[j], scale * skip[j], c_before[j]},
                        SruParameters<T>{v_f[j], v_r[j], b_f[j], b_r[j], mask[j]});
    c_out[j] = out.c;
    h_out[j] = out.h;
  }
  h_strip.end(h, columns);
}

// `c` may be one row for all steps; the states before each chunk but the first then go to `kept`.
template <bool kTanh, bool kStream, class T, class U>
TANDEM_INLINE void forward_block(const Block<T, U>& in, const Rows<T>& c, const Rows<T>& kept,
                                 const Rows<T>& h) {
  for (int64_t t = 0; t < in.steps; ++t) {
    const T* before = t == 0 ? in.c0 : c.at(t - 1);
    if (kStream && t > 0 && t % kChunk == 0) std::copy_n(before, in.columns, kept.at(t / kChunk - 1));
    for (int64_t first = 0; first < in.columns; first += kStrip) {
      const int64_t columns = std::min(kStrip, in.columns - first);
      if (t + kAhead < in.steps) prefetch_inputs(in, t + kAhead, first, columns);
      forward_strip<kTanh, kStream>(in, t, first, columns, before + first, c.at(t) + first, h.at(t) + first);
    }
  }
}

template <class T, class U>
TANDEM_INLINE void forward_block_as(bool tanh, bool stream, const Block<T, U>& in, const Rows<T>& c,
                                    const Rows<T>& kept, const Rows<T>& h) {
  if (stream)
    tanh ? forward_block<true, true>(in, c, kept, h) : forward_block<false, true>(in, c, kept, h);
  else
    tanh ? forward_block<true, false>(in, c, kept, h) : forward_block<false, false>(in, c, kept, h);
}
TANDEM_SIMD void forward_block(bool tanh, bool stream, const Block<float, float>& in, const Rows<float>& c,
                               const Rows<float>& kept, const Rows<float>& h) {
  forward_block_as(tanh, stream, in, c, kept, h);
}
TANDEM_SIMD void forward_block(bool tanh, bool stream, const Block<float, bf16>& in, const Rows<float>& c,
                               const Rows<float>& kept, const Rows<float>& h) {
  forward_block_as(tanh, stream, in, c, kept, h);
}
TANDEM_SIMD void forward_block(bool tanh, bool stream, const Block<double, double>& in, const Rows<double>& c,
                               const Rows<double>& kept, const Rows<double>& h) {
  forward_block_as(tanh, stream, in, c, kept, h);
}

// What one block writes on its way back. `carry` enters as the gradient of the last state and leaves as that
// of c0.
template <class T, class U>
struct BlockGrads {
  Rows<U> du;
  Rows<T> dskip;
  T *carry, *dv_f, *dv_r, *db_f, *db_r;
};

// With G the gradient that reaches c from later steps, going back in time (f, r and g(c) are computed again):
//
//     du_r = dh (g(c) - skip) mask r (1 - r)            dc   = dh mask r g'(c) + G
//     du_f = dc (c_before - u_c) f (1 - f)              du_c = dc (1 - f)
//     G    = dc f + du_f v_f + du_r v_r                 dskip = dh (1 - mask r)
//     dv_f += du_f c_before    dv_r += du_r c_before    db_f += du_f    db_r += du_r
//
// Lei et al. 2018, appendix A, with the highway mask.
template <bool kTanh, bool kStream, class T, class U>
TANDEM_INLINE void backward_strip(const Block<T, U>& in, const T* c_before, const T* c_after,
                                  const Rows<const T>& dh, const BlockGrads<T, U>& out, int64_t t,
                                  int64_t first, int64_t columns) {
  InputStrip<T, U> in_c, in_f, in_r;
  OutputStrip<kStream, T, U> c_strip, f_strip, r_strip;
  OutputStrip<kStream, T, T> skip_strip;
  const U* u = in.u.at(t) + first;
  const T* u_c = in_c.read(u, columns);
  const T* u_f = in_f.read(u + in.plane, columns);
  const T* u_r = in_r.read(u + 2 * in.plane, columns);
  const T* skip = in.skip.at(t) + first;
  const T* dh_row = dh.at(t) + first;
  const T *v_f = in.v_f + first, *v_r = in.v_r + first, *b_f = in.b_f + first, *b_r = in.b_r + first,
          *mask = in.mask + first;
  const T scale = in.skip_scale;
  U* const du = out.du.at(t) + first;
  T* const dx = out.dskip.at(t) + first;
  T* du_c = c_strip.begin(du);
  T* du_f = f_strip.begin(du + in.plane);
  T* du_r = r_strip.begin(du + 2 * in.plane);
  T* dskip = skip_strip.begin(dx);
  T *carry = out.carry + first, *dv_f = out.dv_f + first, *dv_r = out.dv_r + first, *db_f = out.db_f + first,
    *db_r = out.db_r + first;
#pragma omp simd
  for (int64_t j = 0; j < columns; ++j) {
    const T before = c_before[j];
    const SruInputGrad<T> d = sru_step_backward<kTanh>(
        SruInput<T>{u_c[j], u_f[j], u_r[j], scale * skip[j], before},
        SruParameters<T>{v_f[j], v_r[j], b_f[j], b_r[j], mask[j]}, c_after[j], dh_row[j], carry[j]);
    du_c[j] = d.candidate;
    du_f[j] = d.forget;
    du_r[j] = d.reset;
    dskip[j] = scale * d.skip;
    carry[j] = d.c_before;
    dv_f[j] += d.forget * before;
    dv_r[j] += d.reset * before;
    db_f[j] += d.forget;
    db_r[j] += d.reset;
  }
  c_strip.end(du, columns);
  f_strip.end(du + in.plane, columns);
  r_strip.end(du + 2 * in.plane, columns);
  if (out.dskip.stride > 0) skip_strip.end(dx, columns);
}

// The states after the steps [begin, end) once more, from `before`.
template <class T, class U>
TANDEM_INLINE void compute_states(const Block<T, U>& in, const T* before, const Rows<T>& states,
                                  int64_t begin, int64_t end) {
  InputStrip<T, U> in_c, in_f;
  for (int64_t t = begin; t < end; before = states.at(t - begin), ++t) {
    for (int64_t first = 0; first < in.columns; first += kStrip) {
      const int64_t columns = std::min(kStrip, in.columns - first);
      for (int64_t plane = 0; plane < 2 && t + kAhead < end; ++plane)
        prefetch_row(in.u.at(t + kAhead) + plane * in.plane + first, columns);
      const T* u_c = in_c.read(in.u.at(t) + first, columns);
      const T* u_f = in_f.read(in.u.at(t) + in.plane + first, columns);
      const T *v_f = in.v_f + first, *b_f = in.b_f + first, *c_before = before + first;
      T* c_after = states.at(t - begin) + first;
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j)
        c_after[j] = sru_step<false>(SruInput<T>{u_c[j], u_f[j], T(0), T(0), c_before[j]},
                                     SruParameters<T>{v_f[j], T(0), b_f[j], T(0), T(0)})
                         .c;
    }
  }
}

// c: the states after all steps, or, kStream, those before each chunk but the first.
template <bool kTanh, bool kStream, class T, class U>
TANDEM_INLINE void backward_block(const Block<T, U>& in, const Rows<const T>& c, const Rows<const T>& dh,
                                  const BlockGrads<T, U>& out) {
  const int64_t chunk = kStream ? kChunk : in.steps;
  T again[kStream ? kChunk * kMaxColumns : 1];
  for (int64_t begin = (in.steps - 1) / chunk * chunk; begin >= 0; begin -= chunk) {
    const int64_t end = std::min(begin + chunk, in.steps);
    const T* before = begin == 0 ? in.c0 : c.at(begin / chunk - 1);
    Rows<const T> states = c;
    if constexpr (kStream) {
      compute_states(in, before, Rows<T>{again, in.columns}, begin, end);
      states = {again, in.columns};
    }
    for (int64_t t = end - 1; t >= begin; --t) {
      const T* c_before = t == begin ? before : states.at(t - begin - 1);
      for (int64_t first = 0; first < in.columns; first += kStrip) {
        const int64_t columns = std::min(kStrip, in.columns - first);
        if (t >= kAhead) {
          prefetch_inputs(in, t - kAhead, first, columns);
          if (!kStream) prefetch_row(c.at(t - kAhead) + first, columns);
          prefetch_row(dh.at(t - kAhead) + first, columns);
        }
        backward_strip<kTanh, kStream>(in, c_before + first, states.at(t - begin) + first, dh, out, t, first,
                                       columns);
      }
    }
  }
}

template <class T, class U>
TANDEM_INLINE void backward_block_as(bool tanh, bool stream, const Block<T, U>& in, const Rows<const T>& c,
                                     const Rows<const T>& dh, const BlockGrads<T, U>& out) {
  if (stream)
    tanh ? backward_block<true, true>(in, c, dh, out) : backward_block<false, true>(in, c, dh, out);
  else
    tanh ? backward_block<true, false>(in, c, dh, out) : backward_block<false, false>(in, c, dh, out);
}
TANDEM_SIMD void backward_block(bool tanh, bool stream, const Block<float, float>& in,
                                const Rows<const float>& c, const Rows<const float>& dh,
                                const BlockGrads<float, float>& out) {
  backward_block_as(tanh, stream, in, c, dh, out);
}
TANDEM_SIMD void backward_block(bool tanh, bool stream, const Block<float, bf16>& in,
                                const Rows<const float>& c, const Rows<const float>& dh,
                                const BlockGrads<float, bf16>& out) {
  backward_block_as(tanh, stream, in, c, dh, out);
}
TANDEM_SIMD void backward_block(bool tanh, bool stream, const Block<double, double>& in,
                                const Rows<const double>& c, const Rows<const double>& dh,
                                const BlockGrads<double, double>& out) {
  backward_block_as(tanh, stream, in, c, dh, out);
}

template <class T, class U>
Block<T, U> block_of(const SruScanInputs& in, const ColumnBlocks& blocks, int64_t index) {
  const int64_t b = blocks.row(index), column = blocks.column(index), d = blocks.width;
  const bool four = in.u.size(2) == 4 * d;
  const T* v = in.weight_c.data<T>() + column;
  const T* bias = in.bias.data<T>() + column;
  Rows<const T> skip = rows_of<T>(in.x, b, column);
  if constexpr (std::is_same_v<T, U>)
    if (four) skip = rows_of<T>(in.u, b, column + 3 * d);
  return {.steps = in.u.size(0),
          .columns = std::min(blocks.columns, d - column),
          .plane = d,
          .u = rows_of<U>(in.u, b, column),
          .skip = skip,
          .skip_scale = four ? T(1) : static_cast<T>(in.rescale),
          .v_f = v,
          .v_r = v + d,
          .b_f = bias,
          .b_r = bias + d,
          .mask = in.mask.defined() ? in.mask.data<T>() + b * d + column : kOnes<T>.data(),
          .c0 = in.c0.defined() ? in.c0.data<T>() + b * d + column : kZeros<T>};
}

template <class T, class U>
void forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const SruScanInputs& in) {
  const ColumnBlocks blocks(h.size(1), h.size(2));
  const bool in_chunks = c.defined() && c.size(0) < h.size(0);
#pragma omp parallel for if (h.numel() > kParallelGrain / 8)
  for (int64_t i = 0; i < blocks.count(); ++i) {
    const Block<T, U> block = block_of<T, U>(in, blocks, i);
    const int64_t b = blocks.row(i), column = blocks.column(i);
    T* last = c_last.data<T>() + b * blocks.width + column;
    const Rows<T> one{last, 0}, kept = c.defined() ? output_rows<T>(c, b, column) : one,
                                states = in_chunks ? one : kept;
    forward_block(in.tanh, in_chunks, block, states, kept, output_rows<T>(h, b, column));
    finish_streaming();
    if (states.stride > 0) std::copy_n(states.at(block.steps - 1), block.columns, last);
  }
}

// target (2 D) = or += two rows of the sums (B, 4, D), in order of b, so that threads do not matter.
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
  if (dc_last.defined())
    copy(dc0, dc_last);
  else
    fill(dc0, 0);
  const Tensor sums = zeros({blocks.batch, 4, d}, c.dtype());  // dv_f, dv_r, db_f, db_r of each batch row
  const bool in_chunks = c.size(0) < in.u.size(0);
#pragma omp parallel for if (in.u.numel() > kParallelGrain / 8)
  for (int64_t i = 0; i < blocks.count(); ++i) {
    const int64_t b = blocks.row(i), column = blocks.column(i);
    T unwanted[kMaxColumns];
    Rows<T> dskip{unwanted, 0};
    if (dx.defined()) dskip = output_rows<T>(dx, b, column);
    if constexpr (std::is_same_v<T, U>)
      if (four) dskip = output_rows<T>(du, b, column + 3 * d);
    T* sum = sums.data<T>() + 4 * b * d + column;
    backward_block(in.tanh, in_chunks, block_of<T, U>(in, blocks, i), rows_of<T>(c, b, column),
                   rows_of<T>(dh, b, column),
                   {.du = output_rows<U>(du, b, column),
                    .dskip = dskip,
                    .carry = dc0.data<T>() + b * d + column,
                    .dv_f = sum,
                    .dv_r = sum + d,
                    .db_f = sum + 2 * d,
                    .db_r = sum + 3 * d});
    finish_streaming();
  }
  sum_over_batch<T>(dweight_c, sums, 0, blocks);
  sum_over_batch<T>(dbias, sums, 2, blocks);
}

// Of x and h: on a CPU u alone is ever in bf16.
DType hidden_dtype(const Tensor& u) {
  return u.device().is_cpu() ? parameter_dtype(u.dtype()) : u.dtype();
}

// The states that backward needs: all, or, of a large scan on a CPU, those before each chunk but the first.
Shape kept_states(const Tensor& h) {
  const bool in_chunks = h.device().is_cpu() && worth_streaming(h.nbytes()) && h.size(0) > kChunk;
  return in_chunks ? h.shape().with(0, (h.size(0) - 1) / kChunk) : h.shape();
}

// Memory for a gradient like x: that of `done` where nobody else holds it, for a CPU's backward has read a
// strip of it before it writes there. It saves the largest tensor of a layer, and cache lines.
Tensor in_place_of(const Tensor& done, const Tensor& x) {
  return done.sole_owner() && done.device().is_cpu() ? done.detach() : empty_like(x);
}

void check_inputs(const SruScanInputs& in) {
  const Tensor& u = in.u;
  CHECK(u.rank() == 3 && u.size(0) > 0,
        "sru_scan: u is {}; it must be (T, B, 3 D) or (T, B, 4 D) with at least one time step",
        u.shape().str());
  const int64_t d = in.weight_c.numel() / 2;
  CHECK(in.weight_c.rank() == 1 && d > 0 && in.weight_c.numel() == 2 * d,
        "sru_scan: weight_c is {}; it must be (2 D), v_f then v_r", in.weight_c.shape().str());
  const bool four = u.size(2) == 4 * d;
  CHECK(four || u.size(2) == 3 * d,
        "sru_scan: u is {} and weight_c {}: the last axis of u must be 3 D or 4 D, {} or {}", u.shape().str(),
        in.weight_c.shape().str(), 3 * d, 4 * d);
  CHECK(
      !four || !in.x.defined(),
      "sru_scan: u is {}, four planes of {}, whose last is the skip, and x {} is given too; drop one of them",
      u.shape().str(), d, in.x.defined() ? in.x.shape().str() : "");
  CHECK(!four || u.dtype() != DType::bf16 || u.device().is_cuda(),
        "sru_scan: u is {}: four planes cannot be bf16 on a CPU; give three, or f32", u.str());
  const DType parameter = parameter_dtype(u.dtype());
  const MainOperand main{"sru_scan", "u", u};
  check_operand(main, "weight_c", in.weight_c, {2 * d}, parameter);
  check_operand(main, "bias", in.bias, {2 * d}, parameter);
  if (in.x.defined()) check_operand(main, "x", in.x, {u.size(0), u.size(1), d}, hidden_dtype(u));
  if (in.c0.defined()) check_operand(main, "c0", in.c0, {u.size(1), d}, parameter);
  if (in.mask.defined()) check_operand(main, "mask", in.mask, {u.size(1), d}, parameter);
}

}  // namespace

namespace cpu {

void sru_scan_forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const SruScanInputs& in) {
  if (in.u.dtype() == DType::bf16) return forward<float, bf16>(h, c, c_last, in);
  FOR_FLOAT(in.u.dtype(), "sru_scan", T, forward<T, T>(h, c, c_last, in));
}

void sru_scan_backward(const Tensor& du, const Tensor& dx, const Tensor& dc0, const GradTarget& dweight_c,
                       const GradTarget& dbias, const Tensor& dh, const Tensor& dc_last, const Tensor& c,
                       const SruScanInputs& in) {
  if (in.u.dtype() == DType::bf16)
    return backward<float, bf16>(du, dx, dc0, dweight_c, dbias, dh, dc_last, c, in);
  FOR_FLOAT(in.u.dtype(), "sru_scan", T, backward<T, T>(du, dx, dc0, dweight_c, dbias, dh, dc_last, c, in));
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
  DISPATCH(u.device(), sru_scan_forward(h, c, c_last, in));
  const std::vector<Tensor> ys = record("sru_scan", {h, c_last}, inputs, [in, c](const Grads& dys) -> Grads {
    const Tensor du = in_place_of(in.u, in.u), dc0(c.shape().tail(), parameter_dtype(c.dtype()), c.device());
    const Tensor dx = needs_grad(in.x) ? in_place_of(dys[0], in.x) : Tensor();
    const GradTarget dweight_c = target_if_wanted(in.weight_c);
    const GradTarget dbias = target_if_wanted(in.bias);
    DISPATCH(c.device(), sru_scan_backward(du, dx, dc0, dweight_c, dbias, dys[0], dys[1], c, in));
    return {du, dx, dweight_c.grad, dbias.grad, dc0};
  });
  return {ys[0], ys[1]};
}

}  // namespace tandem
