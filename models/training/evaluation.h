// Evaluation: the exact loss of a model over a text, segment by segment, with state and memory carried over.
#pragma once
#include <cstdint>
#include <functional>

#include "tandem/core/ranks.h"
#include "tandem/data/tokens.h"
#include "tandem/models/language_model.h"
#include "tandem/models/presets.h"

namespace tandem {

struct Evaluation {
  double total_nats = 0;  // negative log-likelihood, summed in f64
  int64_t symbols = 0;    // number of predictions scored
  int64_t dropped = 0;    // number of predictions left out: (N - 1) mod batch_size for N tokens
  double seconds = 0;
  // Mean loss in nats a token. score() turns it into bits per character or perplexity.
  double mean_nats() const { return total_nats / static_cast<double>(symbols); }
};

struct EvaluationOptions {
  int64_t window = 0;   // tokens a segment
  int64_t memory = -1;  // tokens before the segment that attention sees; -1: as many as `window`
  int64_t clamp = 0;    // AttentionContext::clamp
  int64_t batch_size =
      1;  // columns that the text is cut into; each starts without context, so only 1 is exact
  // Is called with the losses (T, B) in nats of each segment, and of each shard, in their order.
  std::function<void(const Tensor& losses)> on_losses = {};

  AttentionContext context() const {
    return {.memory = memory < 0 ? window : memory, .same_length = true, .clamp = clamp, .segment = window};
  }
};
// Returns the options that the recipe evaluates with.
EvaluationOptions evaluation_options(const Recipe& recipe, int64_t batch_size);

// Is called after each segment with the sums so far and the number of symbols in all. It may throw to stop.
using EvaluationProgress = std::function<void(const Evaluation& so_far, int64_t symbols)>;

// Scores every token but the first of each column (data/batch_stream.h). Segments are `window` tokens long,
// every query sees equally many keys (AttentionContext::same_length), and the first segment starts without
// context. A model that carries no state reads each segment together with the `memory` tokens before it. The
// sum is the same bits for any number of threads.
// Error: a window or batch size below 1; a text that is too short; tokens of a vocabulary of another size than
// the model's.
Evaluation evaluate(const LanguageModel& model, const Tokens& tokens, const EvaluationOptions& options,
                    const EvaluationProgress& progress = {});

// Scores as evaluate() does, the columns cut into `shards` groups that the ranks share: each is evaluated as a batch of its
// own, and the sums are added in the order of the shards, so that the result is the same bits for any number of ranks.
// Every rank must call it, and gets the whole result. `progress` is called after each segment on every rank, equally often,
// and with the sums of this rank. Error: as evaluate(); RankLost.
Evaluation evaluate_shards(const LanguageModel& model, const Tokens& tokens, const EvaluationOptions& options,
                           int64_t shards, Ranks& ranks, const EvaluationProgress& progress = {});

}  // namespace tandem
