// A text as token ids, read where it lies: bytes through the table of a vocabulary, or ids in memory or in a
// mapped file. Nothing is copied, so what it was made from must outlive it.
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "data/vocabulary.h"

namespace tandem {

class Tokens {
 public:
  Tokens() = default;
  // Throws when the vocabulary is not of bytes, or lacks one of these.
  Tokens(std::span<const uint8_t> bytes, const Vocabulary& vocabulary);
  // Ids 0 .. vocabulary_size - 1, which is not checked: a file may hold hundreds of millions.
  Tokens(std::span<const int32_t> ids, int32_t vocabulary_size);

  int64_t size() const { return size_; }
  int32_t vocabulary_size() const { return vocabulary_size_; }
  int32_t operator[](int64_t position) const { return bytes_ ? table_[bytes_[position]] : ids_[position]; }
  // The first `count`; throws when there are not as many.
  Tokens first(int64_t count) const;

 private:
  const uint8_t* bytes_ = nullptr;
  std::array<int32_t, 256> table_{};  // of ids, by byte
  const int32_t* ids_ = nullptr;
  int64_t size_ = 0;
  int32_t vocabulary_size_ = 0;
};

}  // namespace tandem
