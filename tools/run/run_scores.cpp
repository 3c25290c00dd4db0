// Evaluations and samples.
#include "tandem/tools/run/run_scores.h"

#include <algorithm>
#include <utility>

#include "tandem/core/check.h"
#include "tandem/data/batch_stream.h"
#include "tandem/models/training/sampling.h"
#include "tandem/models/training/score.h"

namespace tandem {
namespace {

constexpr int64_t kTestColumns = 1;
constexpr int64_t kPrompt = 64;  // bytes of a sample's prompt; of words and subwords a quarter as many

void check_stream(const Tokens& tokens, const char* split, int64_t window, int64_t columns,
                  const char* advice) {
  if (tokens.size() <= 1) return;
  try {
    EvaluationStream(tokens, window, columns);
  } catch (const Error& error) {
    detail::fail("the {} split of {} tokens cannot be evaluated: {}; {}", split, tokens.size(), error.what(),
                 advice);
  }
}

}  // namespace

RunScores::RunScores(const Trainer& trainer, const Corpus& corpus, std::function<void()> on_progress)
    : trainer_(trainer), corpus_(corpus), on_progress_(std::move(on_progress)) {
  const Recipe& recipe = trainer.config().recipe;
  check_stream(
      dev_tokens(), "dev", recipe.eval_window, recipe.eval_batch_size,
      "--eval-batch-size is the number of columns; a larger --valid-fraction or --eval-bytes gives more tokens");
  check_stream(corpus.split("test"), "test", recipe.eval_window, kTestColumns,
               "give another --test-fraction");
}

Tokens RunScores::dev_tokens() const {
  return first_part(corpus_.split("dev"), corpus_.vocabulary, trainer_.config().recipe.eval_bytes);
}

Evaluation RunScores::dev() const {
  const Recipe& recipe = trainer_.config().recipe;
  return evaluate_shards(trainer_.model(), dev_tokens(), evaluation_options(recipe, recipe.eval_batch_size),
                         recipe.shards, trainer_.ranks(),
                         [this](const Evaluation&, int64_t) { on_progress_(); });
}

Evaluation RunScores::test(const LanguageModel& model) const {
  return evaluate(model, corpus_.split("test"), evaluation_options(trainer_.config().recipe, kTestColumns),
                  [this](const Evaluation&, int64_t) { on_progress_(); });
}

int64_t RunScores::scored_bytes(const std::string& split, const Evaluation& evaluation) const {
  return tandem::scored_bytes(evaluation, split == "dev" ? dev_tokens() : corpus_.split(split),
                              corpus_.vocabulary);
}

Sample RunScores::sample(const LanguageModel& model, int64_t tokens) const {
  const Vocabulary& vocabulary = trainer_.vocabulary();
  const Tokens held_out = corpus_.split(has_test() ? "test" : "train");
  const int64_t length = vocabulary.level() == TokenUnit::byte ? kPrompt : kPrompt / 4;
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < std::min(held_out.size(), length); ++i) prompt.push_back(held_out[i]);
  const std::string text = vocabulary.decode(prompt);
  SamplingOptions sampling;
  sampling.temperature = 0.8;
  sampling.seed = trainer_.config().seed;
  return {text, generate_text(model, vocabulary, text, tokens, sampling,
                              evaluation_options(trainer_.config().recipe, 1).context())};
}

}  // namespace tandem
