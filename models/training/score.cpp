// Scores of losses.
#include "models/training/score.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace tandem {

const char* score_name(TokenUnit level) {
  return level == TokenUnit::byte ? "bpc" : "ppl";
}

double score(TokenUnit level, double nats) {
  return level == TokenUnit::byte ? nats / std::numbers::ln2 : std::exp(nats);
}

std::string score_text(TokenUnit level, double nats) {
  const int digits = level == TokenUnit::byte ? 4 : 2;
  return fmt::format("{:.{}f} {}", score(level, nats), digits, score_name(level));
}

}  // namespace tandem
