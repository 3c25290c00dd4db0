// cross_entropy: softmax and negative log-likelihood in one, as a mean or for each token (token_nll).
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

// Computes the mean over all tokens of  log sum exp(logits) - logits[target],  in nats: bits per character are
// loss / log 2. logits are (..., V), targets (...) i32. The sum over tokens is formed in f64; the result has
// the dtype of the logits, or f32 for bf16.
// Error: shapes do not fit; there are no tokens; targets are not i32; a target is outside 0 .. V - 1 (the
// message names value and position; on a GPU, which is not waited for, the loss is NaN instead).
Tensor cross_entropy(const Tensor& logits, const Tensor& targets);

// Computes the same value and gradient with half the memory traffic and no memory of its own: while a tape
// records, the forward pass OVERWRITES THE LOGITS with their gradient. Use it only if nothing reads the logits
// afterwards, neither the caller nor the backward function of the operator that made them (add, matmul and
// linear do not; softmax and exp do).
// Error: as above; the logits are a leaf or a view of a leaf's elements.
Tensor cross_entropy_in_place(const Tensor& logits, const Tensor& targets);

// Returns the loss of every token, (...), in the dtype that cross_entropy() has; no tokens give an empty
// result. Error: as cross_entropy().
Tensor token_nll(const Tensor& logits, const Tensor& targets);

namespace cpu {
// nll (N) f64 receives the losses, lse (N) f64 receives log sum exp(logits), which backward needs.
void token_nll_forward(const Tensor& nll, const Tensor& lse, const Tensor& logits, const Tensor& targets);
// dlogits = (softmax(logits) - one_hot(targets)) * factor * dy. dy has one element for each token or one for
// all, in the dtype of the loss.
void token_nll_backward(const Tensor& dlogits, const Tensor& dy, const Tensor& logits, const Tensor& lse,
                        const Tensor& targets, double factor);
// Computes nll and replaces logits by (softmax(logits) - one_hot(targets)) * factor.
void token_nll_in_place(const Tensor& nll, const Tensor& logits, const Tensor& targets, double factor);
// x *= factor, a tensor of one element in the dtype of the loss. x is left alone if it is 1.
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
