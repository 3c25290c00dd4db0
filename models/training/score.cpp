// Scores of mean losses and of evaluations.
#include "tandem/models/training/score.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "tandem/core/check.h"

namespace tandem {

const char* score_name(TokenUnit unit) {
  return unit == TokenUnit::byte ? "bpc" : "ppl";
}

double score(TokenUnit unit, double nats) {
  return unit == TokenUnit::byte ? nats / std::numbers::ln2 : std::exp(nats);
}

std::string score_text(TokenUnit unit, double nats) {
  const int digits = unit == TokenUnit::byte ? 4 : 2;
  return fmt::format("{:.{}f} {}", score(unit, nats), digits, score_name(unit));
}

int64_t scored_bytes(const Evaluation& evaluation, const Tokens& tokens, const Vocabulary& vocabulary) {
  // The targets of all columns together follow each other in the text, from its second token on.
  return text_bytes(tokens, vocabulary, 1, 1 + evaluation.symbols);
}

double bits_per_byte(const Evaluation& evaluation, int64_t bytes) {
  TANDEM_CHECK(bytes > 0, "score: bits per byte of {} symbols that stand for {} bytes are not defined",
               evaluation.symbols, bytes);
  return evaluation.total_nats / std::numbers::ln2 / static_cast<double>(bytes);
}

std::string score_text(TokenUnit unit, const Evaluation& evaluation, int64_t bytes) {
  const std::string text = score_text(unit, evaluation.mean_nats());
  return unit == TokenUnit::subword ? fmt::format("{}, {:.4f} bpb", text, bits_per_byte(evaluation, bytes))
                                    : text;
}

}  // namespace tandem
