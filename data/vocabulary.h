// The vocabulary of a model: byte values or words, and the id of each.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/words/vocabulary.h"

namespace tandem {

// What a token is.
enum class TokenUnit { byte, word };
const char* name_of(TokenUnit level);      // "byte", "word"
const char* tokens_name(TokenUnit level);  // "bytes", "tokens": words and line ends
// Reads name_of() back; throws for other names.
TokenUnit level_named(std::string_view name);

// A bijection between symbols (up to 256 byte values, or words) and the ids 0 .. size() - 1.
class Vocabulary {
 public:
  Vocabulary() { ids_.fill(-1); }

  // The distinct values of `bytes` in ascending order: a byte's id is its rank among them.
  static Vocabulary of(std::span<const uint8_t> bytes);

  // Reads to_hex() back. Any order of ids is taken; an empty or odd-length string, other characters than hex
  // digits and a repeated byte are errors.
  static Vocabulary from_hex(std::string_view hex);

  // Of words: WordVocabulary(text), with its errors.
  static Vocabulary of_words(std::string_view text);

  TokenUnit level() const { return words_ ? TokenUnit::word : TokenUnit::byte; }
  int32_t size() const { return words_ ? words_->size() : static_cast<int32_t>(bytes_.size()); }

  // Ids of a text. Bytes: throws as check_covers does. Words: one a word, wherever blanks are, and the line
  // end for each newline; words that the vocabulary does not have are the unknown one.
  std::vector<int32_t> encode(std::span<const uint8_t> bytes) const;
  std::vector<int32_t> encode(std::string_view text) const;
  // Back to text: words with a blank between, a newline for the line end. Throws unless 0 <= id < size().
  std::string decode(std::span<const int32_t> ids) const;
  // What decode() adds for `id` behind `before`, -1 at the beginning.
  std::string piece(int32_t id, int32_t before) const;
  // The id of a newline; -1 where there is none, in some vocabularies of bytes.
  int32_t line_end() const { return words_ ? words_->line_end() : ids_['\n']; }

  // Of bytes only.

  // Two lower-case hex digits per byte value, in id order: the metadata `vocab` of a checkpoint.
  std::string to_hex() const;
  bool contains(uint8_t byte) const { return ids_[byte] >= 0; }
  // The id of a byte, -1 for one that the vocabulary does not have.
  int32_t id(uint8_t byte) const { return ids_[byte]; }
  // The byte of an id; throws unless 0 <= id < size().
  uint8_t byte(int32_t id) const;
  // Throws on the first byte that the vocabulary does not have, naming its value and offset.
  void check_covers(std::span<const uint8_t> bytes) const;

  // Of words only: throws for bytes.
  const WordVocabulary& words() const;

  bool operator==(const Vocabulary& other) const;

 private:
  void append(uint8_t byte);

  std::vector<uint8_t> bytes_;                   // by id
  std::array<int32_t, 256> ids_;                 // by byte, -1 where absent
  std::shared_ptr<const WordVocabulary> words_;  // of words; null for bytes
};

}  // namespace tandem
