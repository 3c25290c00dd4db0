// The evaluations and samples of a training run.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "tandem/data/corpus.h"
#include "tandem/models/training/evaluation.h"
#include "tandem/models/training/trainer.h"

namespace tandem {

// A text that a model has written.
struct Sample {
  std::string prompt;  // the beginning of the held-out text
  std::string text;    // what the model continues it with
};

class RunScores {
 public:
  // Trainer and corpus must outlive this. `on_progress` is called between the segments of an evaluation, and may end it by
  // an exception. Error: the dev or the test split cannot be evaluated in the windows and columns of the recipe; told
  // before the first step, not after hours.
  RunScores(const Trainer& trainer, const Corpus& corpus, std::function<void()> on_progress);

  bool has_dev() const { return dev_tokens().size() > 1; }
  bool has_test() const { return corpus_.test.size() > 1; }

  // Scores the trainer's weights on dev, on as many tokens, or bytes of subwords, as the recipe says. All ranks must call it.
  Evaluation dev() const;
  // Scores a model on the whole test split, in one column as in the papers: every symbol has its whole context.
  Evaluation test(const LanguageModel& model) const;
  // Returns the bytes of text that an evaluation of "dev" or "test" has scored; 0 for words.
  int64_t scored_bytes(const std::string& split, const Evaluation& evaluation) const;
  // Lets a model continue the beginning of the held-out text by `tokens` bytes, subwords or words. Error: its logits are not finite.
  Sample sample(const LanguageModel& model, int64_t tokens) const;

 private:
  Tokens dev_tokens() const;

  const Trainer& trainer_;
  const Corpus& corpus_;
  std::function<void()> on_progress_;
};

}  // namespace tandem
