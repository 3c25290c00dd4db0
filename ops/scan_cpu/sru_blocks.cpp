// Runs a block of columns through the time steps of sru_scan, strip by strip, forward and backward.
#include "tandem/ops/scan_cpu/sru_blocks.h"

#include <algorithm>
#include <type_traits>

#include "tandem/core/macros.h"
#include "tandem/core/streaming.h"
#include "tandem/ops/gemm/round_bf16.h"
#include "tandem/ops/sru_scan.h"

namespace tandem::cpu {
namespace {

// A time step works strip by strip, so that the prefetches for a later step and the stores of this one overlap
// with the arithmetic. With whole rows the memory would be idle during the arithmetic, and the arithmetic wait
// for the memory.
constexpr int64_t kStrip = 64;  // columns

// Results of one strip, in dtype U, computed in T. buffer() is where to compute them: the target, or scratch memory
// if they are to be rounded or stored past the caches (kStream). write_to() then brings them to the target.
template <bool kStream, class T, class U>
struct OutputStrip {
  static constexpr bool kRound = !std::is_same_v<T, U>;
  T scratch[kStream || kRound ? kStrip : 1];

  TANDEM_INLINE T* buffer([[maybe_unused]] U* target) {
    if constexpr (kStream || kRound)
      return scratch;
    else
      return target;
  }
  TANDEM_INLINE void write_to([[maybe_unused]] U* target, [[maybe_unused]] int64_t columns) const {
    if constexpr (kRound) {
      U rounded[kStrip];
      round_to_bf16(kStream ? rounded : target, scratch, columns);
      if (kStream) stream_row(target, rounded, columns);
    } else if constexpr (kStream) {
      stream_row(target, scratch, columns);
    }
  }
};

// One strip of u in T: where it lies, or widened from bf16 into scratch memory. Widening inside the loop over
// columns would halve the width of its vectors.
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

// Number of time steps by which rows are prefetched. The rows of two steps lie too far apart for the hardware
// prefetcher.
constexpr int64_t kAhead = 2;

template <class T, class U>
TANDEM_INLINE void prefetch_inputs(const SruBlock<T, U>& in, int64_t t, int64_t first, int64_t columns) {
  for (int64_t plane = 0; plane < 3; ++plane) prefetch_row(in.u.at(t) + plane * in.plane + first, columns);
  prefetch_row(in.skip.at(t) + first, columns);
}

template <bool kTanh, bool kStream, class T, class U>
TANDEM_INLINE void forward_strip(const SruBlock<T, U>& in, int64_t t, int64_t first, int64_t columns,
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
  T* h_out = h_strip.buffer(h);
#pragma omp simd
  for (int64_t j = 0; j < columns; ++j) {
    const SruOutput<T> out =
        sru_step<kTanh>(SruInput<T>{u_c[j], u_f[j], u_r[j], scale * skip[j], c_before[j]},
                        SruParameters<T>{v_f[j], v_r[j], b_f[j], b_r[j], mask[j]});
    c_out[j] = out.c;
    h_out[j] = out.h;
  }
  h_strip.write_to(h, columns);
}

// See sru_forward_block(); kStream is its `in_chunks`, and h then goes past the caches.
template <bool kTanh, bool kStream, class T, class U>
TANDEM_INLINE void forward_block(const SruBlock<T, U>& in, const Rows<T>& c, const Rows<T>& kept,
                                 const Rows<T>& h) {
  for (int64_t t = 0; t < in.steps; ++t) {
    const T* before = t == 0 ? in.c0 : c.at(t - 1);
    if (kStream && t > 0 && t % kSruChunk == 0) std::copy_n(before, in.columns, kept.at(t / kSruChunk - 1));
    for (int64_t first = 0; first < in.columns; first += kStrip) {
      const int64_t columns = std::min(kStrip, in.columns - first);
      if (t + kAhead < in.steps) prefetch_inputs(in, t + kAhead, first, columns);
      forward_strip<kTanh, kStream>(in, t, first, columns, before + first, c.at(t) + first, h.at(t) + first);
    }
  }
}

template <class T, class U>
TANDEM_INLINE void choose_forward(bool tanh, bool stream, const SruBlock<T, U>& in, const Rows<T>& c,
                                  const Rows<T>& kept, const Rows<T>& h) {
  if (stream)
    tanh ? forward_block<true, true>(in, c, kept, h) : forward_block<false, true>(in, c, kept, h);
  else
    tanh ? forward_block<true, false>(in, c, kept, h) : forward_block<false, false>(in, c, kept, h);
}
TANDEM_SIMD void forward_block(bool tanh, bool stream, const SruBlock<float, float>& in, const Rows<float>& c,
                               const Rows<float>& kept, const Rows<float>& h) {
  choose_forward(tanh, stream, in, c, kept, h);
}
TANDEM_SIMD void forward_block(bool tanh, bool stream, const SruBlock<float, bf16>& in, const Rows<float>& c,
                               const Rows<float>& kept, const Rows<float>& h) {
  choose_forward(tanh, stream, in, c, kept, h);
}
TANDEM_SIMD void forward_block(bool tanh, bool stream, const SruBlock<double, double>& in,
                               const Rows<double>& c, const Rows<double>& kept, const Rows<double>& h) {
  choose_forward(tanh, stream, in, c, kept, h);
}

// Computes, with G the gradient of c from later steps, going back in time (f, r and g(c) are computed again):
//
//     du_r = dh (g(c) - skip) mask r (1 - r)            dc   = dh mask r g'(c) + G
//     du_f = dc (c_before - u_c) f (1 - f)              du_c = dc (1 - f)
//     G    = dc f + du_f v_f + du_r v_r                 dskip = dh (1 - mask r)
//     dv_f += du_f c_before    dv_r += du_r c_before    db_f += du_f    db_r += du_r
//
// Lei et al. 2018, appendix A, with the highway mask.
template <bool kTanh, bool kStream, class T, class U>
TANDEM_INLINE void backward_strip(const SruBlock<T, U>& in, const T* c_before, const T* c_after,
                                  const Rows<const T>& dh, const SruBlockGrads<T, U>& out, int64_t t,
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
  T* du_c = c_strip.buffer(du);
  T* du_f = f_strip.buffer(du + in.plane);
  T* du_r = r_strip.buffer(du + 2 * in.plane);
  T* dskip = skip_strip.buffer(dx);
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
  c_strip.write_to(du, columns);
  f_strip.write_to(du + in.plane, columns);
  r_strip.write_to(du + 2 * in.plane, columns);
  if (out.dskip.stride > 0) skip_strip.write_to(dx, columns);
}

// Computes the states after the steps begin .. end - 1 once more, from the state `before` them.
template <class T, class U>
TANDEM_INLINE void compute_states(const SruBlock<T, U>& in, const T* before, const Rows<T>& states,
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

// See sru_backward_block(); kStream is its `in_chunks`, and the gradients then go past the caches.
template <bool kTanh, bool kStream, class T, class U>
TANDEM_INLINE void backward_block(const SruBlock<T, U>& in, const Rows<const T>& c, const Rows<const T>& dh,
                                  const SruBlockGrads<T, U>& out) {
  const int64_t chunk = kStream ? kSruChunk : in.steps;
  T again[kStream ? kSruChunk * kMaxColumns : 1];
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
TANDEM_INLINE void choose_backward(bool tanh, bool stream, const SruBlock<T, U>& in, const Rows<const T>& c,
                                   const Rows<const T>& dh, const SruBlockGrads<T, U>& out) {
  if (stream)
    tanh ? backward_block<true, true>(in, c, dh, out) : backward_block<false, true>(in, c, dh, out);
  else
    tanh ? backward_block<true, false>(in, c, dh, out) : backward_block<false, false>(in, c, dh, out);
}
TANDEM_SIMD void backward_block(bool tanh, bool stream, const SruBlock<float, float>& in,
                                const Rows<const float>& c, const Rows<const float>& dh,
                                const SruBlockGrads<float, float>& out) {
  choose_backward(tanh, stream, in, c, dh, out);
}
TANDEM_SIMD void backward_block(bool tanh, bool stream, const SruBlock<float, bf16>& in,
                                const Rows<const float>& c, const Rows<const float>& dh,
                                const SruBlockGrads<float, bf16>& out) {
  choose_backward(tanh, stream, in, c, dh, out);
}
TANDEM_SIMD void backward_block(bool tanh, bool stream, const SruBlock<double, double>& in,
                                const Rows<const double>& c, const Rows<const double>& dh,
                                const SruBlockGrads<double, double>& out) {
  choose_backward(tanh, stream, in, c, dh, out);
}

}  // namespace

template <class T, class U>
void sru_forward_block(bool tanh, bool in_chunks, const SruBlock<T, U>& in, const Rows<T>& c,
                       const Rows<T>& kept, const Rows<T>& h) {
  forward_block(tanh, in_chunks, in, c, kept, h);
}

template <class T, class U>
void sru_backward_block(bool tanh, bool in_chunks, const SruBlock<T, U>& in, const Rows<const T>& c,
                        const Rows<const T>& dh, const SruBlockGrads<T, U>& out) {
  backward_block(tanh, in_chunks, in, c, dh, out);
}

template void sru_forward_block(bool, bool, const SruBlock<float, float>&, const Rows<float>&,
                                const Rows<float>&, const Rows<float>&);
template void sru_backward_block(bool, bool, const SruBlock<float, float>&, const Rows<const float>&,
                                 const Rows<const float>&, const SruBlockGrads<float, float>&);

template void sru_forward_block(bool, bool, const SruBlock<float, bf16>&, const Rows<float>&,
                                const Rows<float>&, const Rows<float>&);
template void sru_backward_block(bool, bool, const SruBlock<float, bf16>&, const Rows<const float>&,
                                 const Rows<const float>&, const SruBlockGrads<float, bf16>&);

template void sru_forward_block(bool, bool, const SruBlock<double, double>&, const Rows<double>&,
                                const Rows<double>&, const Rows<double>&);
template void sru_backward_block(bool, bool, const SruBlock<double, double>&, const Rows<const double>&,
                                 const Rows<const double>&, const SruBlockGrads<double, double>&);

}  // namespace tandem::cpu
