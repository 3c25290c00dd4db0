// The evaluation loop.
#include "tandem/models/training/evaluation.h"

#include <chrono>
#include <numeric>
#include <vector>

#include "tandem/core/check.h"
#include "tandem/data/batch_stream.h"
#include "tandem/models/training/tensor_exchange.h"

namespace tandem {

EvaluationOptions evaluation_options(const Recipe& recipe, int64_t batch_size) {
  return {.window = recipe.eval_window,
          .memory = recipe.eval_memory,
          .clamp = recipe.eval_clamp,
          .batch_size = batch_size};
}

Evaluation evaluate(const LanguageModel& model, const Tokens& tokens, const EvaluationOptions& options,
                    const EvaluationProgress& progress) {
  const std::shared_ptr<Ranks> alone = Ranks::alone();
  return evaluate_shards(model, tokens, options, 1, *alone, progress);
}

Evaluation evaluate_shards(const LanguageModel& model, const Tokens& tokens, const EvaluationOptions& options,
                           int64_t shards, Ranks& ranks, const EvaluationProgress& progress) {
  TANDEM_CHECK(tokens.vocabulary_size() == model.vocabulary_size(),
               "evaluate: the vocabulary has {} symbols, the model predicts {}; they must come from one file",
               tokens.vocabulary_size(), model.vocabulary_size());
  const auto start = std::chrono::steady_clock::now();
  // A model without carried state reads its context again with every segment.
  const int64_t reread = model.carries_state() ? 0 : options.context().memory;
  EvaluationStream all(tokens, options.window, options.batch_size, reread);
  all.select({0, 0});  // counts only
  struct Shard {
    EvaluationStream stream;
    State state;
  };
  std::vector<Shard> own;
  const IndexRange range = part_of(shards, ranks.size(), ranks.rank());
  for (int64_t s = range.first; s < range.last; ++s) {
    own.push_back({EvaluationStream(tokens, options.window, options.batch_size, reread), {}});
    own.back().stream.select(part_of(options.batch_size, shards, s));
  }
  Evaluation result;
  result.dropped = all.dropped();
  ForwardOptions forward;
  forward.context = options.context();
  std::vector<double> nats(static_cast<size_t>(shards), 0.0);
  std::vector<int32_t> inputs, targets;
  while (all.next(inputs, targets)) {
    for (size_t i = 0; i < own.size(); ++i) {
      auto& [stream, state] = own[i];
      stream.next(inputs, targets);
      if (stream.width() == 0) continue;  // there are more shards than columns
      const Shape shape = {stream.steps(), stream.width()};
      const Tensor losses = model.token_losses(tensor_of(shape, inputs).to(model.device()),
                                               tensor_of(shape, targets).to(model.device()), state, forward);
      double& sum = nats[static_cast<size_t>(range.first) + i];
      const Tensor scored = losses.view_rows(stream.reread(), shape[0]);
      for (const double loss : scored.to(DType::f64).to_vector<double>()) sum += loss;
      if (options.on_losses) options.on_losses(scored);
    }
    result.total_nats = std::accumulate(nats.begin(), nats.end(), 0.0);
    result.symbols = all.predicted();
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (progress) progress(result, all.predictions());
  }
  std::vector<Ranks::Message> sends, receives;
  add_shard_messages(ranks, nats, sends, receives);
  ranks.exchange(sends, receives);
  result.total_nats = std::accumulate(nats.begin(), nats.end(), 0.0);
  return result;
}

}  // namespace tandem
