// Tokens: a view of a text as token ids. The text is either bytes, looked up in a vocabulary, or ids in memory
// or in a mapped file. Nothing is copied, so the text must outlive the view.
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "tandem/data/vocabulary.h"

namespace tandem {

class Tokens {
 public:
  Tokens() = default;
  // Error: a vocabulary of words, or one that lacks a byte of the text.
  Tokens(std::span<const uint8_t> bytes, const Vocabulary& vocabulary);
  // Ids must lie in 0 .. vocabulary_size - 1. This is not checked: there may be hundreds of millions.
  Tokens(std::span<const int32_t> ids, int32_t vocabulary_size);

  int64_t size() const { return size_; }
  int32_t vocabulary_size() const { return vocabulary_size_; }
  int32_t operator[](int64_t position) const { return bytes_ ? table_[bytes_[position]] : ids_[position]; }
  // Returns the first `count` tokens. Error: there are fewer.
  Tokens first(int64_t count) const;

 private:
  const uint8_t* bytes_ = nullptr;
  std::array<int32_t, 256> table_{};  // ids by byte
  const int32_t* ids_ = nullptr;
  int64_t size_ = 0;
  int32_t vocabulary_size_ = 0;
};

// Returns the bytes of text that the tokens begin .. end - 1 stand for: as many for bytes, the sum of their texts for
// subwords, and 0 for words, which do not tell the blanks between them. Error: there are fewer than `end` tokens; the
// vocabulary has another size than the one of the tokens.
int64_t text_bytes(const Tokens& tokens, const Vocabulary& vocabulary, int64_t begin, int64_t end);

// Returns the first `limit` tokens or, of subwords, the first tokens of at most `limit` bytes of text, so that models of
// bytes and of subwords are scored on the same part of a text. All of them if there are no more, or `limit` is 0.
// Error: as text_bytes().
Tokens first_part(const Tokens& tokens, const Vocabulary& vocabulary, int64_t limit);

// Returns the share of tokens, 0 to 1, that stand for words which the vocabulary lacks (<unk>). 0 for bytes and subwords, and for no
// tokens. Error: the vocabulary has another size than the one of the tokens.
double unknown_share(const Tokens& tokens, const Vocabulary& vocabulary);

}  // namespace tandem
