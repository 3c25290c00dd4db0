// Scores: a mean loss as people report it, bits per character for bytes, perplexity for words and subwords; and bits per
// byte, by which models of bytes and of subwords compare.
#pragma once
#include <string>

#include "tandem/data/tokens.h"
#include "tandem/models/training/evaluation.h"

namespace tandem {

// Returns "bpc" for bytes, "ppl" for words and subwords.
const char* score_name(TokenUnit unit);
// Returns the score of a mean loss in nats a token: nats / ln 2 for bytes, exp(nats) for the others. Lower is better.
double score(TokenUnit unit, double nats);
// Returns "1.0234 bpc" or "24.03 ppl".
std::string score_text(TokenUnit unit, double nats);

// Returns the bytes of text that an evaluation of these tokens has scored, all but the first token of the text and those
// that were dropped; 0 for words, which do not tell the blanks between them.
int64_t scored_bytes(const Evaluation& evaluation, const Tokens& tokens, const Vocabulary& vocabulary);
// Returns the bits that a byte of the text costs: all nats of the evaluation / ln 2 / bytes. Of bytes that is "bpc".
double bits_per_byte(const Evaluation& evaluation, int64_t bytes);
// Returns score_text(), for subwords with the bits per byte: "24.03 ppl, 1.3021 bpb".
std::string score_text(TokenUnit unit, const Evaluation& evaluation, int64_t bytes);

}  // namespace tandem
