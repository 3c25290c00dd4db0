// Sampling: draws text from a model, one token at a time.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tandem/core/random.h"
#include "tandem/data/vocabulary.h"
#include "tandem/models/language_model.h"

namespace tandem {

// How the next token is drawn. The options apply in the order of the fields, each to what the one before left.
struct SamplingOptions {
  double temperature = 1;  // divides the logits; 0: always the most probable token
  int64_t top_k = 0;       // keep the k most probable tokens; 0: all
  // Keep the fewest most probable tokens that together reach this probability.
  // Holtzman et al., "The Curious Case of Neural Text Degeneration" (2019).
  double top_p = 1;
  uint64_t seed = 1;  // same seed, same text

  // Error: a temperature that is negative or not finite; a negative top_k; top_p outside (0, 1].
  void check() const;
};

// Returns the probabilities that the next token is drawn from; they sum to 1, and tokens that were cut off have
// 0. Among equal logits the lower id counts as more probable. Error: a logit that is not finite; bad options.
std::vector<double> sampling_distribution(std::span<const double> logits, const SamplingOptions& options);

// Draws an id from a distribution by inverting its cumulative distribution at a uniform number, one of `random`.
int32_t draw_token(const std::vector<double>& probabilities, Random& random);

// Returns the natural logarithms of the probabilities that these logits stand for, whatever the sampling options.
std::vector<double> log_probabilities(std::span<const double> logits);

// Returns the ids of the `count` largest values, or of all if there are fewer, the largest first. Among equal values the
// lower id comes first.
std::vector<int32_t> likeliest_ids(std::span<const double> values, int64_t count);

// Returns the ids of a prompt, none for an empty one. Error: as check_prompt().
std::vector<int32_t> encoded_prompt(const Vocabulary& vocabulary, std::string_view prompt);
// Returns the ids that a model reads before it draws the first token: those of the prompt. Without a prompt this is a
// newline, or id 0 if the vocabulary has no newline. Error: as check_prompt().
std::vector<int32_t> prompt_ids(const Vocabulary& vocabulary, std::string_view prompt);

// Error: the prompt has a byte that a vocabulary of bytes lacks; the message gives its offset. generate_text()
// makes the same check.
void check_prompt(const Vocabulary& vocabulary, std::string_view prompt);

// Is called with the text of each token as soon as it is drawn: a byte, a word with the blank before it, or a
// newline. It may throw to stop.
using OnText = std::function<void(std::string_view text)>;

// Reads the prompt, draws `tokens` more tokens and returns their text, without the prompt. The distribution is
// that of an evaluation with the same `context`. Without a prompt the model first reads a newline, or the byte
// of id 0 if the vocabulary has no newline; that token is not returned.
// Error: as check_prompt(); a negative number of tokens; bad options.
std::string generate_text(const LanguageModel& model, const Vocabulary& vocabulary, std::string_view prompt,
                          int64_t tokens, const SamplingOptions& options, const AttentionContext& context,
                          const OnText& on_text = {});

}  // namespace tandem
