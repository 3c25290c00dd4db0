// How losses are told: bits per character of bytes, perplexity of words.
#pragma once
#include <string>

#include "data/vocabulary.h"

namespace tandem {

// "bpc" or "ppl".
const char* score_name(TokenUnit level);
// Of a mean loss in nats a token: nats / ln 2, or exp(nats). Lower is better, of both.
double score(TokenUnit level, double nats);
// "1.0234 bpc", "24.03 ppl".
std::string score_text(TokenUnit level, double nats);

}  // namespace tandem
