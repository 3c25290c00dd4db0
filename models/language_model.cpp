// Losses of a language model.
#include "models/language_model.h"

#include "autograd/tape.h"
#include "ops/cross_entropy.h"

namespace tandem {

Tensor LanguageModel::loss(const Tensor& tokens, const Tensor& targets, State& state,
                           const ForwardOptions& pass) const {
  return cross_entropy_in_place(logits(tokens, state, pass), targets);
}

Tensor LanguageModel::token_losses(const Tensor& tokens, const Tensor& targets, State& state,
                                   const ForwardOptions& pass) const {
  NoGrad pause;
  return token_nll(logits(tokens, state, pass), targets).view_as(targets.shape());
}

}  // namespace tandem
