// The evaluation loop.
#include "tools/support/evaluation.h"

#include <chrono>

#include "core/check.h"
#include "data/batch_stream.h"
#include "tools/support/score.h"

namespace tandem {

double Evaluation::bpc() const {
  return score(Level::byte, mean_nats());
}

double Evaluation::perplexity() const {
  return score(Level::word, mean_nats());
}

Evaluation evaluate(const LanguageModel& model, const Tokens& tokens, int64_t window, int64_t batch_size,
                    const EvaluationProgress& progress) {
  CHECK(tokens.vocabulary_size() == model.vocabulary_size(),
        "evaluate: the vocabulary has {} symbols, the model predicts {}; they must come from one file",
        tokens.vocabulary_size(), model.vocabulary_size());
  const auto start = std::chrono::steady_clock::now();
  EvaluationStream stream(tokens, window, batch_size);
  Evaluation result;
  result.dropped = stream.dropped();
  Pass pass;
  pass.visible_keys = window + 1;
  State state;
  std::vector<int32_t> inputs, targets;
  while (stream.next(inputs, targets)) {
    const Shape shape = {static_cast<int64_t>(inputs.size()) / batch_size, batch_size};
    const Tensor losses = model.token_losses(tensor_of(shape, inputs).to(model.device()),
                                             tensor_of(shape, targets).to(model.device()), state, pass);
    for (const double loss : losses.to(DType::f64).to_vector<double>()) result.total_nats += loss;
    result.symbols = stream.predicted();
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (progress) progress(result, stream.predictions());
  }
  return result;
}

}  // namespace tandem
