// soft_cross_entropy: cross-entropy mixed with the divergence from a teacher's softened distribution, for distillation.
//
// With p = softmax(teacher / T) and q = softmax(logits / T), for each token:
//
//     loss = (1 - w) (log sum exp(logits) - logits[target]) + w T^2 sum_j p_j (log p_j - log q_j)
//
// The second term is the Kullback-Leibler divergence KL(p || q). Its gradient with respect to the logits is (q - p) / T, of
// the order of 1 / T^2, so the factor T^2 keeps the parts of both terms as the temperature changes.
// Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015, arXiv 1503.02531), section 2.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

struct SoftTargetOptions {
  double weight = 0.5;     // w, the part of the teacher's distribution in the loss, in [0, 1]
  double temperature = 1;  // T > 0; above 1 the softer distribution also tells how unlikely tokens compare
};

struct SoftCrossEntropy {
  Tensor loss;  // mean of the mixed loss over all tokens
  Tensor nll;   // mean of -log softmax(logits)[target], what cross_entropy() gives; without gradient
};

// Computes both means in nats. logits and teacher are (..., V), targets (...) i32. The teacher's logits, or its
// log-probabilities, are constants: they get no gradient. While a tape records, the forward pass computes the gradient of
// the logits too, so that both logits are read once. Sums over tokens are formed in f64; the results have the dtype of the
// logits, or f32 for bf16.
// Error: as cross_entropy(); the teacher's logits have not shape, dtype and device of the logits; the weight is outside
// [0, 1]; the temperature is not a positive finite number.
SoftCrossEntropy soft_cross_entropy(const Tensor& logits, const Tensor& targets, const Tensor& teacher,
                                    const SoftTargetOptions& options = {});

// Computes the same for one of the tails of an adaptive softmax (ops/adaptive_softmax.h), over all tokens. The divergence of
// a token counts `shares` (...) f64 times: with the teacher's probabilities of the tail, the divergences of head and tails
// add up to that of the whole vocabulary, by the chain rule. A token whose target, of another cluster, is -1 here has no
// cross-entropy. Error: as above, but for targets of -1; shares are not f64 (...) on the logits' device.
SoftCrossEntropy soft_cross_entropy_tail(const Tensor& logits, const Tensor& targets, const Tensor& teacher,
                                         const Tensor& shares, const SoftTargetOptions& options = {});

namespace cpu {
// loss (N) f64 and nll (N) f64 receive the losses of the tokens, and dlogits, unless it is undefined, the gradient of
// factor * sum(loss). Without `shares` all are 1; with them a target of -1 is none.
void soft_cross_entropy(const Tensor& loss, const Tensor& nll, const Tensor& dlogits, const Tensor& logits,
                        const Tensor& targets, const Tensor& teacher, const Tensor& shares,
                        const SoftTargetOptions& options, double factor);
}  // namespace cpu

namespace cuda {
void soft_cross_entropy(const Tensor& loss, const Tensor& nll, const Tensor& dlogits, const Tensor& logits,
                        const Tensor& targets, const Tensor& teacher, const Tensor& shares,
                        const SoftTargetOptions& options, double factor);
}  // namespace cuda

}  // namespace tandem
