// Learns the subwords of a text: byte-pair encoding (Sennrich, Haddow and Birch, 2016) by SentencePiece.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "tandem/data/words/vocabulary.h"

namespace tandem {

// The number of subwords if none is given.
inline constexpr int64_t kDefaultSubwords = 8000;
// The smallest size: all single bytes, and one piece.
inline constexpr int64_t kFewestSubwords = 257;

// Subwords are learnt from the most frequent units of a text, four for each subword but no fewer than this: the time of
// SentencePiece's trainer grows faster than their number, and rare units change few merges.
inline constexpr size_t kLeastUnits = size_t{1} << 15;

// Returns the model (data/subwords/pieces.h) of a vocabulary of `size` subwords, the 256 single bytes included, learnt from
// the units of a text and their numbers (count_units()). `name` names the text in messages.
//
// Byte-pair encoding counts in integers, so that the result does not depend on the rounding of a processor, as that of a
// unigram model would. Its ties are broken by digests of the units, on one thread: the same units give the same bytes.
// The characters that make up 99.95 % of the text are pieces; rarer ones are read byte by byte.
// Error: a size outside kFewestSubwords .. kMostPieces; no units; fewer than `size` subwords in them; more frequent
// characters than `size` has room for.
std::string learn_subwords(const WordCounts& units, int64_t size, const std::string& name);

}  // namespace tandem
