// Evaluation: the exact loss of a model over a text, segment by segment with state and memory carried.
#pragma once
#include <cstdint>
#include <functional>

#include "data/tokens.h"
#include "models/language_model.h"
#include "models/presets.h"

namespace tandem {

struct Evaluation {
  double total_nats = 0;  // negative log-likelihood, summed in f64
  int64_t symbols = 0;    // predictions scored
  int64_t dropped = 0;    // predictions left out, (N - 1) mod batch_size of N tokens
  double seconds = 0;
  double mean_nats() const { return total_nats / static_cast<double>(symbols); }
  double bpc() const;         // bits per character, of bytes: mean_nats() / ln 2
  double perplexity() const;  // of words: exp(mean_nats())
};

struct EvaluationOptions {
  int64_t window = 0;      // tokens a segment
  int64_t memory = -1;     // rows that attention looks back beyond the segment's first; -1: window
  int64_t clamp = 0;       // AttentionContext::clamp
  int64_t batch_size = 1;  // columns of the text; only 1 is exact

  AttentionContext context() const {
    return {.memory = memory < 0 ? window : memory, .same_length = true, .clamp = clamp, .segment = window};
  }
};
EvaluationOptions evaluation_options(const Recipe& recipe, int64_t batch_size);

// Called after each segment with the sums so far and the number of symbols there will be. May throw to stop.
using EvaluationProgress = std::function<void(const Evaluation& so_far, int64_t symbols)>;

// Scores every token but the first of each of the columns (data/batch_stream.h). Segments are `window` tokens
// long; queries see equally many keys (AttentionContext::same_length); the first segment starts with no context. Of a
// model that carries no state, each segment is read together with the `memory` tokens before it. The order of
// the sum does not depend on the number of threads. Error: a window or batch size below 1; too short a text;
// tokens of a vocabulary of another size than the model's.
Evaluation evaluate(const LanguageModel& model, const Tokens& tokens, const EvaluationOptions& options,
                    const EvaluationProgress& progress = {});

}  // namespace tandem
