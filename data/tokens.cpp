// Views of texts as token ids.
#include "tandem/data/tokens.h"

#include "tandem/core/check.h"

namespace tandem {

Tokens::Tokens(std::span<const uint8_t> bytes, const Vocabulary& vocabulary)
    : bytes_(bytes.data()), size_(static_cast<int64_t>(bytes.size())), vocabulary_size_(vocabulary.size()) {
  TANDEM_CHECK(vocabulary.level() == TokenUnit::byte,
               "tokens: a vocabulary of words cannot be applied to bytes");
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

double unknown_share(const Tokens& tokens, const Vocabulary& vocabulary) {
  TANDEM_CHECK(tokens.vocabulary_size() == vocabulary.size() || tokens.size() == 0,
               "tokens: they have a vocabulary of {}, and a vocabulary of {} was given",
               tokens.vocabulary_size(), vocabulary.size());
  if (vocabulary.level() == TokenUnit::byte || tokens.size() == 0) return 0;
  const int32_t unknown = vocabulary.words().unknown();
  int64_t count = 0;
  for (int64_t i = 0; i < tokens.size(); ++i) count += tokens[i] == unknown;
  return static_cast<double>(count) / static_cast<double>(tokens.size());
}

}  // namespace tandem
