// Losses from logits, carried state in less memory, and what decoders do unless they can do better.
#include "tandem/models/language_model.h"

#include <algorithm>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
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

Tensor Decoder::read(const Tensor& tokens, bool every) {
  TANDEM_CHECK(tokens.rank() == 2 && tokens.numel() > 0,
               "generation: tokens must be (T, B), both at least 1, got {}", tokens.summary());
  const int64_t steps = tokens.size(0), batch = tokens.size(1);
  Tensor all, logits;
  for (int64_t t = 0; t < steps; ++t) {
    logits = step(tokens.view_rows(t, t + 1).view_as({batch}));
    if (!every) continue;
    if (!all.defined()) all = Tensor({steps, batch, logits.size(1)}, logits.dtype(), logits.device());
    copy(all.view_rows(t, t + 1), logits.view_as({1, batch, logits.size(1)}));
  }
  return every ? all : logits.view_as({1, batch, logits.size(1)});
}

void Decoder::keep(std::span<const int64_t>) {
  detail::fail("generation: rows cannot leave a batch of this model; its decoder must implement keep()");
}

void Decoder::append(Decoder&) {
  detail::fail("generation: rows cannot join a batch of this model; its decoder must implement append()");
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
