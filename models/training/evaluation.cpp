// The evaluation loop.
#include "tandem/models/training/evaluation.h"

#include <chrono>

#include "tandem/core/check.h"
#include "tandem/data/batch_stream.h"

namespace tandem {

EvaluationOptions evaluation_options(const Recipe& recipe, int64_t batch_size) {
  return {.window = recipe.eval_window,
          .memory = recipe.eval_memory,
          .clamp = recipe.eval_clamp,
          .batch_size = batch_size};
}

Evaluation evaluate(const LanguageModel& model, const Tokens& tokens, const EvaluationOptions& options,
                    const EvaluationProgress& progress) {
  TANDEM_CHECK(tokens.vocabulary_size() == model.vocabulary_size(),
               "evaluate: the vocabulary has {} symbols, the model predicts {}; they must come from one file",
               tokens.vocabulary_size(), model.vocabulary_size());
  const auto start = std::chrono::steady_clock::now();
  // A model without carried state reads its context again with every segment.
  const int64_t reread = model.carries_state() ? 0 : options.context().memory;
  EvaluationStream stream(tokens, options.window, options.batch_size, reread);
  Evaluation result;
  result.dropped = stream.dropped();
  ForwardOptions forward;
  forward.context = options.context();
  State state;
  std::vector<int32_t> inputs, targets;
  while (stream.next(inputs, targets)) {
    const Shape shape = {static_cast<int64_t>(inputs.size()) / options.batch_size, options.batch_size};
    const Tensor losses = model.token_losses(tensor_of(shape, inputs).to(model.device()),
                                             tensor_of(shape, targets).to(model.device()), state, forward);
    const Tensor scored = losses.view_rows(stream.reread(), shape[0]);
    for (const double loss : scored.to(DType::f64).to_vector<double>()) result.total_nats += loss;
    result.symbols = stream.predicted();
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (progress) progress(result, stream.predictions());
  }
  return result;
}

}  // namespace tandem
