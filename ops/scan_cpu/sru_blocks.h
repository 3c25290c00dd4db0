// The arithmetic of sru_scan on the CPU: one block of columns of one batch row, over all time steps, so that
// its carry and the sums for its parameters stay in cache. Internal to sru_scan.cpp.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "ops/scan_cpu/column_blocks.h"

namespace tandem::cpu {

// What one block reads in both directions. u is in T, or, beside f32, in bf16.
template <class T, class U>
struct SruBlock {
  int64_t steps, columns;
  int64_t plane;  // distance between the planes of u, and of du
  Rows<const U> u;
  Rows<const T> skip;
  T skip_scale;
  const T *v_f, *v_r, *b_f, *b_r, *mask, *c0;
};

// Of large scans only the states before each chunk of so many time steps are kept, and backward computes the
// others again, chunk by chunk, in cache: 15 of 16 need no memory, and the way there and back.
inline constexpr int64_t kSruChunk = 16;

// What one block writes on its way back. `carry` enters as the gradient of the last state and leaves as that
// of c0.
template <class T, class U>
struct SruBlockGrads {
  Rows<U> du;
  Rows<T> dskip;
  T *carry, *dv_f, *dv_r, *db_f, *db_r;
};

// With in_chunks, `c` is one row, which ends as the last state, and `kept` takes those before each chunk but
// the first; else `kept` is not written, and `c` takes the states after all steps, or is such a row.
template <class T, class U>
void sru_forward_block(bool tanh, bool in_chunks, const SruBlock<T, U>& in, const Rows<T>& c,
                       const Rows<T>& kept, const Rows<T>& h);

// c: the states after all steps, or, in_chunks, those that were kept.
template <class T, class U>
void sru_backward_block(bool tanh, bool in_chunks, const SruBlock<T, U>& in, const Rows<const T>& c,
                        const Rows<const T>& dh, const SruBlockGrads<T, U>& out);

}  // namespace tandem::cpu
