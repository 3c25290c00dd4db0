// Sampling: drawing text from a model, one token at a time.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/vocabulary.h"
#include "models/language_model.h"

namespace tandem {

// How the next token is drawn. Applied in the order of the fields, each on what the one before left.
struct SamplingOptions {
  double temperature = 1;  // divides the logits; 0: always the most probable token
  int64_t top_k = 0;       // keep the k most probable tokens; 0: all
  double top_p = 1;   // keep the most probable tokens that together reach this probability (Holtzman 2019)
  uint64_t seed = 1;  // same seed, same text

  // Error: a temperature that is negative or not finite; a negative top_k; top_p outside (0, 1].
  void check() const;
};

// The probabilities from which the next token is drawn; they sum to 1, and what was cut off has 0. Of equal
// logits the lower id counts as the more probable. Error: a logit is not finite; bad options.
std::vector<double> sampling_distribution(std::span<const double> logits, const SamplingOptions& options);

// Error: a prompt byte that a vocabulary of bytes lacks, with its offset. generate_text() makes this check,
// too.
void check_prompt(const Vocabulary& vocabulary, std::string_view prompt);

// Called with the text of each token as soon as it is drawn: a byte, or a word with the blank before it, or a
// newline. May throw to stop.
using OnText = std::function<void(std::string_view text)>;

// Reads the prompt and draws `tokens` more, whose text is returned (without the prompt). `context` is that of
// the evaluation whose distribution the text is drawn from. Without a prompt the text begins after a newline,
// or after the byte of id 0 where the vocabulary has none; that token is not returned. Error: what
// check_prompt() says; `tokens` negative; bad options.
std::string generate_text(const LanguageModel& model, const Vocabulary& vocabulary, std::string_view prompt,
                          int64_t tokens, const SamplingOptions& options, const AttentionContext& context,
                          const OnText& on_text = {});

}  // namespace tandem
