// cross_entropy: softmax and negative log-likelihood in one, as a mean or token by token.
#pragma once
#include "core/tensor.h"

namespace tandem {

// logits (..., V), targets (...) i32 -> (): the mean over all tokens of log sum exp(logits) - logits[target],
// in nats. (log 2 nats are one bit: bpc = loss / log 2.) The sum over tokens is formed in f64; the result is
// of the logits' dtype, or f32 for bf16. Error: shapes do not fit, no tokens; targets not i32, or one outside
// 0..V-1 (value and position are named; on a GPU, which is not waited for, the loss is NaN instead).
Tensor cross_entropy(const Tensor& logits, const Tensor& targets);

// The same value and gradient with half the memory traffic and no memory of its own: while a tape records,
// the forward pass OVERWRITES THE LOGITS with their gradient. Only for logits that nobody reads afterwards,
// neither the caller nor the backward function of the operator that made them (add, matmul and linear do not;
// softmax and exp do). Error: as above; logits that are a leaf.
Tensor cross_entropy_in_place(const Tensor& logits, const Tensor& targets);

// The loss of every token: (...), of the dtype that cross_entropy has.
Tensor token_nll(const Tensor& logits, const Tensor& targets);

namespace cpu {
// nll (N) f64; lse (N) f64 = log sum exp(logits), which backward needs.
void token_nll_forward(const Tensor& nll, const Tensor& lse, const Tensor& logits, const Tensor& targets);
// dlogits = (softmax(logits) - one_hot(targets)) * factor * dy, where dy has one element for each token, or
// one for all; dy is of the loss's dtype.
void token_nll_backward(const Tensor& dlogits, const Tensor& dy, const Tensor& logits, const Tensor& lse,
                        const Tensor& targets, double factor);
// Forward, with logits replaced by (softmax(logits) - one_hot(targets)) * factor.
void token_nll_in_place(const Tensor& nll, const Tensor& logits, const Tensor& targets, double factor);
// x *= factor, which has one element of the loss's dtype; nothing is touched when that is 1.
void scale_by(const Tensor& x, const Tensor& factor);
}  // namespace cpu

namespace cuda {
void token_nll_forward(const Tensor& nll, const Tensor& lse, const Tensor& logits, const Tensor& targets);
void token_nll_backward(const Tensor& dlogits, const Tensor& dy, const Tensor& logits, const Tensor& lse,
                        const Tensor& targets, double factor);
void token_nll_in_place(const Tensor& nll, const Tensor& logits, const Tensor& targets, double factor);
void scale_by(const Tensor& x, const Tensor& factor);
}  // namespace cuda

}  // namespace tandem
