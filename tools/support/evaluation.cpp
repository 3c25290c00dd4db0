// The evaluation loop.
#include "tools/support/evaluation.h"

#include <chrono>
#include <numbers>

#include "core/check.h"
#include "data/batch_stream.h"

namespace tandem {

double Evaluation::bpc() const {
  return mean_nats() / std::numbers::ln2;
}

EvaluationOptions evaluation_options(const Recipe& recipe, int64_t batch_size) {
  return {.window = recipe.eval_window,
          .memory = recipe.eval_memory,
          .clamp = recipe.eval_clamp,
          .batch_size = batch_size};
}

Evaluation evaluate(const LanguageModel& model, const Vocabulary& vocabulary, std::span<const uint8_t> bytes,
                    const EvaluationOptions& options, const EvaluationProgress& progress) {
  CHECK(vocabulary.size() == model.vocabulary_size(),
        "evaluate: the vocabulary has {} byte values, the model predicts {}; they must come from one file",
        vocabulary.size(), model.vocabulary_size());
  const auto start = std::chrono::steady_clock::now();
  EvaluationStream stream(bytes, vocabulary, options.window, options.batch_size);
  Evaluation result;
  result.dropped = stream.dropped();
  Pass pass;
  pass.context = options.context();
  State state;
  std::vector<int32_t> inputs, targets;
  while (stream.next(inputs, targets)) {
    const Shape shape = {static_cast<int64_t>(inputs.size()) / options.batch_size, options.batch_size};
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
