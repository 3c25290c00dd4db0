// Scores of mean losses.
#include "tandem/models/training/score.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

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

}  // namespace tandem
