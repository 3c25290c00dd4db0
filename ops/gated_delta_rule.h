// gated_delta_rule: a matrix state for each head that decays and is corrected key by key, over all time steps.
//
// Yang, Kautz and Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta Rule" (ICLR 2025); the form in
// chunks: Yang et al., "Parallelizing Linear Transformers with the Delta Rule over Sequence Length" (NeurIPS 2024).
#pragma once
#include <cstdint>

#include "tandem/core/tensor.h"

namespace tandem {

struct GatedDeltaResult {
  Tensor o;      // (T, B, H dv)
  Tensor state;  // (B, H dk dv): S of each head after the last step, row by row, in memory of its own
};

// Computes for each batch row and head, with S (dk, dv), from the decay a_t = e^log_decay and the share beta_t of the
// correction that is made:
//
//     S_t = a_t S_{t-1} + beta_t k_t (v_t - a_t S_{t-1}^T k_t)^T          o_t = S_t^T q_t
//
// If keys have length 1, the value that S holds for k_t moves towards v_t: beta = 1 replaces it, beta = 0 leaves it.
//
// q and k are (T, B, H dk), v is (T, B, H dv), log_decay, of values <= 0, and beta are (T, B, H). s0 is
// (B, H dk dv), or zeros if undefined. Gradients flow to all six, from o, from state or from both. All are f32 or
// all are f64; on a GPU q, k, v and o may be bf16, and then the others are f32.
// A tap hears of each head, (T, B, H): gated_delta_rule.decay, a; .beta; and .state_norm, the root of the sum of S's squares.
// Error: another shape, dtype or device; no time step.
GatedDeltaResult gated_delta_rule(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& log_decay,
                                  const Tensor& beta, const Tensor& s0 = {});

// Time steps of a chunk. Within a chunk the recurrence is matrix products and one triangular system; with L the sums of
// log_decay since the chunk began, S the state before it and j < i in A, j <= i in P:
//
//     A_ij = beta_i (k_i . k_j) e^(L_i - L_j)           P_ij = (q_i . k_j) e^(L_i - L_j)
//     (1 + A) X = R,    R_i = beta_i (v_i - e^L_i S^T k_i)
//     o_i = e^L_i S^T q_i + sum of P_ij x_j             S after = e^L_last S + sum of e^(L_last - L_j) k_j x_j^T
inline constexpr int64_t kDeltaChunk = 32;

// The inputs of both directions. s0 is zeros if undefined.
struct GatedDeltaInputs {
  Tensor q, k, v, log_decay, beta, s0;

  int64_t steps() const { return q.size(0); }
  int64_t batch() const { return q.size(1); }
  int64_t heads() const { return beta.size(2); }
  int64_t d_key() const { return q.size(2) / heads(); }
  int64_t d_value() const { return v.size(2) / heads(); }
  int64_t chunks() const { return (steps() + kDeltaChunk - 1) / kDeltaChunk; }
};

// The results of forward that backward needs, in the dtype of the state.
struct GatedDeltaKept {
  Tensor states;  // (chunks, B, H dk dv): the state before each chunk
  Tensor x;       // (T, B, H dv): the rows of X
};

// The gradients to compute, all of them.
struct GatedDeltaGrads {
  Tensor dq, dk, dv, dlog_decay, dbeta, ds0;
};

namespace cpu {
void gated_delta_rule_forward(const Tensor& o, const Tensor& state, const GatedDeltaKept& kept,
                              const GatedDeltaInputs& in);
// d_o and dstate are zeros if undefined.
void gated_delta_rule_backward(const GatedDeltaGrads& out, const Tensor& d_o, const Tensor& dstate,
                               const GatedDeltaKept& kept, const GatedDeltaInputs& in);
}  // namespace cpu

namespace cuda {
void gated_delta_rule_forward(const Tensor& o, const Tensor& state, const GatedDeltaKept& kept,
                              const GatedDeltaInputs& in);
void gated_delta_rule_backward(const GatedDeltaGrads& out, const Tensor& d_o, const Tensor& dstate,
                               const GatedDeltaKept& kept, const GatedDeltaInputs& in);
}  // namespace cuda

}  // namespace tandem
