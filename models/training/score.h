// Scores: a mean loss as people report it, bits per character for bytes and perplexity for words.
#pragma once
#include <string>

#include "tandem/data/vocabulary.h"

namespace tandem {

// Returns "bpc" for bytes, "ppl" for words.
const char* score_name(TokenUnit unit);
// Returns the score of a mean loss in nats a token: nats / ln 2 for bytes, exp(nats) for words. Lower is better.
double score(TokenUnit unit, double nats);
// Returns "1.0234 bpc" or "24.03 ppl".
std::string score_text(TokenUnit unit, double nats);

}  // namespace tandem
