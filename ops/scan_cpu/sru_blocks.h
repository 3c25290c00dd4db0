// The arithmetic of sru_scan on the CPU: one block of columns of one batch row over all time steps, so that its
// carry and the gradients of its parameters stay in cache. Internal to sru_scan.cpp.
#pragma once
#include <cstdint>

#include "tandem/core/dtype.h"
#include "tandem/ops/scan_cpu/column_blocks.h"

namespace tandem::cpu {

// The inputs of a block in both directions. U, the dtype of u, is T, or bf16 if T is float.
template <class T, class U>
struct SruBlock {
  int64_t steps, columns;
  int64_t plane;  // distance from one plane of u, or of du, to the next, in elements
  Rows<const U> u;
  Rows<const T> skip;
  T skip_scale;
  const T *v_f, *v_r, *b_f, *b_r, *mask, *c0;
};

// A large scan keeps only the states before each chunk of this many time steps, and backward computes the
// others again, chunk by chunk, in cache. That saves the memory of 15 states in 16, and writing and reading
// them.
inline constexpr int64_t kSruChunk = 16;

// The outputs of a block's backward pass. `carry` enters as the gradient of the last state and leaves as that
// of c0.
template <class T, class U>
struct SruBlockGrads {
  Rows<U> du;
  Rows<T> dskip;
  T *carry, *dv_f, *dv_r, *db_f, *db_r;
};

// Runs a block forward. `c` receives the state after each step; it may be one row (stride 0), which ends as the
// last state. If `in_chunks`, it is one row, and `kept` receives the states before each chunk but the first;
// else `kept` is not written.
template <class T, class U>
void sru_forward_block(bool tanh, bool in_chunks, const SruBlock<T, U>& in, const Rows<T>& c,
                       const Rows<T>& kept, const Rows<T>& h);

// Runs a block backward. `c` holds the states after all steps or, if `in_chunks`, those that were kept.
template <class T, class U>
void sru_backward_block(bool tanh, bool in_chunks, const SruBlock<T, U>& in, const Rows<const T>& c,
                        const Rows<const T>& dh, const SruBlockGrads<T, U>& out);

}  // namespace tandem::cpu
