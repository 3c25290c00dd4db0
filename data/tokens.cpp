// Views of texts as token ids.
#include "tandem/data/tokens.h"

#include <algorithm>

#include "tandem/core/check.h"

namespace tandem {

Tokens::Tokens(std::span<const uint8_t> bytes, const Vocabulary& vocabulary)
    : bytes_(bytes.data()), size_(static_cast<int64_t>(bytes.size())), vocabulary_size_(vocabulary.size()) {
  TANDEM_CHECK(vocabulary.level() == TokenUnit::byte,
               "tokens: a vocabulary of {}s cannot be applied to bytes", name_of(vocabulary.level()));
  vocabulary.check_covers(bytes);
  for (int value = 0; value < 256; ++value) table_[value] = vocabulary.id(static_cast<uint8_t>(value));
}

Tokens::Tokens(std::span<const int32_t> ids, int32_t vocabulary_size)
    : ids_(ids.data()), size_(static_cast<int64_t>(ids.size())), vocabulary_size_(vocabulary_size) {}

Tokens Tokens::first(int64_t count) const {
  TANDEM_CHECK(count >= 0 && count <= size_, "tokens: the first {} of {} do not exist", count, size_);
  Tokens part = *this;
  part.size_ = count;
  return part;
}

namespace {

void check_same_vocabulary(const Tokens& tokens, const Vocabulary& vocabulary) {
  TANDEM_CHECK(tokens.vocabulary_size() == vocabulary.size() || tokens.size() == 0,
               "tokens: they have a vocabulary of {}, and a vocabulary of {} was given",
               tokens.vocabulary_size(), vocabulary.size());
}

}  // namespace

int64_t text_bytes(const Tokens& tokens, const Vocabulary& vocabulary, int64_t begin, int64_t end) {
  check_same_vocabulary(tokens, vocabulary);
  TANDEM_CHECK(0 <= begin && begin <= end && end <= tokens.size(),
               "tokens: {} .. {} are not among the {} that there are", begin, end, tokens.size());
  if (vocabulary.level() != TokenUnit::subword)
    return vocabulary.level() == TokenUnit::byte ? end - begin : 0;
  const SubwordVocabulary& subwords = vocabulary.subwords();
  int64_t bytes = 0;
  for (int64_t i = begin; i < end; ++i) bytes += static_cast<int64_t>(subwords.text(tokens[i]).size());
  return bytes;
}

Tokens first_part(const Tokens& tokens, const Vocabulary& vocabulary, int64_t limit) {
  check_same_vocabulary(tokens, vocabulary);
  if (limit == 0) return tokens;
  if (vocabulary.level() != TokenUnit::subword) return tokens.first(std::min(limit, tokens.size()));
  const SubwordVocabulary& subwords = vocabulary.subwords();
  int64_t count = 0;
  for (int64_t bytes = 0; count < tokens.size(); ++count) {
    bytes += static_cast<int64_t>(subwords.text(tokens[count]).size());
    if (bytes > limit) break;
  }
  return tokens.first(count);
}

double unknown_share(const Tokens& tokens, const Vocabulary& vocabulary) {
  check_same_vocabulary(tokens, vocabulary);
  if (vocabulary.level() != TokenUnit::word || tokens.size() == 0) return 0;
  const int32_t unknown = vocabulary.words().unknown();
  int64_t count = 0;
  for (int64_t i = 0; i < tokens.size(); ++i) count += tokens[i] == unknown;
  return static_cast<double>(count) / static_cast<double>(tokens.size());
}

}  // namespace tandem
