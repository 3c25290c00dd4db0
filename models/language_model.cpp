// Losses from logits, and carried state in less memory.
#include "tandem/models/language_model.h"

#include <algorithm>

#include "tandem/autograd/tape.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {

void compact_state(State& state) {
  for (NamedTensor& part : state.parts)
    if (std::find(state.only_multiplied.begin(), state.only_multiplied.end(), part.name) !=
        state.only_multiplied.end())
      part.value = part.value.to(cache_dtype(part.value));
}

Tensor LanguageModel::loss(const Tensor& tokens, const Tensor& targets, State& state,
                           const ForwardOptions& options) const {
  return cross_entropy_in_place(logits(tokens, state, options), targets);
}

std::vector<Tensor> LanguageModel::softmax_logits(const Tensor& tokens, State& state,
                                                  const ForwardOptions& options) const {
  const Tensor all = logits(tokens, state, options);
  return {reshape(all, {all.numel() / all.size(-1), all.size(-1)})};
}

Tensor LanguageModel::token_losses(const Tensor& tokens, const Tensor& targets, State& state,
                                   const ForwardOptions& options) const {
  NoGrad pause;
  return token_nll(logits(tokens, state, options), targets).view_as(targets.shape());
}

}  // namespace tandem
