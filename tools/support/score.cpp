// Scores of losses.
#include "tools/support/score.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace tandem {

const char* score_name(Level level) {
  return level == Level::byte ? "bpc" : "ppl";
}

double score(Level level, double nats) {
  return level == Level::byte ? nats / std::numbers::ln2 : std::exp(nats);
}

std::string score_text(Level level, double nats) {
  const int digits = level == Level::byte ? 4 : 2;
  return fmt::format("{:.{}f} {}", score(level, nats), digits, score_name(level));
}

}  // namespace tandem
