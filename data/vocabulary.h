// The vocabulary of a model: byte values, subwords or words, and the id of each.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tandem/data/subwords/vocabulary.h"
#include "tandem/data/words/vocabulary.h"

namespace tandem {

// What a token is.
enum class TokenUnit { byte, word, subword };
const char* name_of(TokenUnit unit);      // "byte", "word" or "subword"
const char* tokens_name(TokenUnit unit);  // "bytes", or "tokens", which are subwords, or words and line ends
// Returns the unit with that name_of(). Error: any other name.
TokenUnit token_unit_named(std::string_view name);

// A bijection between symbols (up to 256 byte values, subwords, or words) and the ids 0 .. size() - 1.
class Vocabulary {
 public:
  Vocabulary() { ids_.fill(-1); }

  // Returns the vocabulary of the distinct values of `bytes`: a byte's id is its rank among them.
  static Vocabulary of(std::span<const uint8_t> bytes);

  // Reads to_hex() back; ids may be in any order.
  // Error: an empty or odd-length string, other characters than hex digits, a repeated byte.
  static Vocabulary from_hex(std::string_view hex);

  // Returns a vocabulary of words, WordVocabulary(text). Error: as that.
  static Vocabulary of_words(std::string_view text);

  // Returns a vocabulary of subwords, SubwordVocabulary(model). Error: as that.
  static Vocabulary of_subwords(std::string_view model);

  // Returns the text by which a file stores the vocabulary: to_hex(), WordVocabulary::text() or SubwordVocabulary::model().
  std::string stored() const;
  // Reads stored() back. Error: the text is not one of this level.
  static Vocabulary from_stored(TokenUnit level, std::string_view text);

  TokenUnit level() const;
  int32_t size() const;

  // Returns the ids of a text. Bytes: one for each byte. Subwords: SubwordVocabulary::encode(), which decode() turns into
  // the same bytes. Words: one for each word, whatever the blanks between, and the line end for each newline; a word that
  // the vocabulary lacks becomes <unk>. Error: as check_covers(), for bytes.
  std::vector<int32_t> encode(std::span<const uint8_t> bytes) const;
  std::vector<int32_t> encode(std::string_view text) const;
  // Returns the text of ids: words have a blank between them, a line end becomes a newline.
  // Error: an id outside 0 .. size() - 1.
  std::string decode(std::span<const int32_t> ids) const;
  // Returns what decode() adds for `id` after the id `before`, which is -1 at the beginning.
  std::string piece(int32_t id, int32_t before) const;
  // Returns the id of a newline, or -1 for a vocabulary of bytes without one.
  int32_t line_end() const;

  // --- for bytes only

  // Returns two lower-case hex digits for each byte value, in id order: the metadata `vocab` of a checkpoint.
  std::string to_hex() const;
  bool contains(uint8_t byte) const { return ids_[byte] >= 0; }
  // Returns the id of a byte, or -1 if the vocabulary lacks it.
  int32_t id(uint8_t byte) const { return ids_[byte]; }
  // Returns the byte of an id. Error: an id outside 0 .. size() - 1.
  uint8_t byte(int32_t id) const;
  // Error: the vocabulary lacks a byte; the message names its value and its offset.
  void check_covers(std::span<const uint8_t> bytes) const;

  // --- for words only

  // Error: a vocabulary of bytes or subwords.
  const WordVocabulary& words() const;

  // --- for subwords only

  // Error: a vocabulary of bytes or words.
  const SubwordVocabulary& subwords() const;

  bool operator==(const Vocabulary& other) const;

 private:
  void append(uint8_t byte);

  std::vector<uint8_t> bytes_;                         // byte values by id; empty for subwords and words
  std::array<int32_t, 256> ids_;                       // ids by byte value, -1 if absent
  std::shared_ptr<const WordVocabulary> words_;        // null for others
  std::shared_ptr<const SubwordVocabulary> subwords_;  // null for others
};

}  // namespace tandem
