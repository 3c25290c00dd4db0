// Builds vocabularies from text, hex, words or subwords, and applies them both ways.
#include "tandem/data/vocabulary.h"

#include "tandem/core/check.h"

namespace tandem {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

const char* name_of(TokenUnit unit) {
  return unit == TokenUnit::byte ? "byte" : unit == TokenUnit::word ? "word" : "subword";
}

const char* tokens_name(TokenUnit unit) {
  return unit == TokenUnit::byte ? "bytes" : "tokens";
}

TokenUnit token_unit_named(std::string_view name) {
  for (const TokenUnit unit : {TokenUnit::byte, TokenUnit::word, TokenUnit::subword})
    if (name == name_of(unit)) return unit;
  detail::fail("no level is named '{}'; there are byte, subword and word", name);
}

TokenUnit Vocabulary::level() const {
  return words_ ? TokenUnit::word : subwords_ ? TokenUnit::subword : TokenUnit::byte;
}

int32_t Vocabulary::size() const {
  return words_ ? words_->size() : subwords_ ? subwords_->size() : static_cast<int32_t>(bytes_.size());
}

int32_t Vocabulary::line_end() const {
  return words_ ? words_->line_end() : subwords_ ? '\n' : ids_['\n'];
}

void Vocabulary::append(uint8_t byte) {
  ids_[byte] = size();
  bytes_.push_back(byte);
}

Vocabulary Vocabulary::of(std::span<const uint8_t> bytes) {
  std::array<bool, 256> seen{};
  for (uint8_t byte : bytes) seen[byte] = true;
  Vocabulary vocabulary;
  for (int value = 0; value < 256; ++value)
    if (seen[value]) vocabulary.append(static_cast<uint8_t>(value));
  return vocabulary;
}

Vocabulary Vocabulary::from_hex(std::string_view hex) {
  TANDEM_CHECK(!hex.empty() && hex.size() % 2 == 0,
               "vocabulary: a hex string of {} digits cannot be read; it must hold two digits for each byte",
               hex.size());
  Vocabulary vocabulary;
  for (size_t i = 0; i < hex.size(); i += 2) {
    const int high = hex_digit(hex[i]);
    const int low = hex_digit(hex[i + 1]);
    TANDEM_CHECK(high >= 0 && low >= 0,
                 "vocabulary: the pair at offset {} of the hex string is not made of hex digits", i);
    const auto byte = static_cast<uint8_t>(16 * high + low);
    TANDEM_CHECK(!vocabulary.contains(byte),
                 "vocabulary: byte {:#04x} occurs twice in the hex string, as ids {} and {}", byte,
                 vocabulary.id(byte), i / 2);
    vocabulary.append(byte);
  }
  return vocabulary;
}

Vocabulary Vocabulary::of_words(std::string_view text) {
  Vocabulary vocabulary;
  vocabulary.words_ = std::make_shared<const WordVocabulary>(text);
  return vocabulary;
}

Vocabulary Vocabulary::of_subwords(std::string_view model) {
  Vocabulary vocabulary;
  vocabulary.subwords_ = std::make_shared<const SubwordVocabulary>(model);
  return vocabulary;
}

std::string Vocabulary::stored() const {
  return words_ ? words_->text() : subwords_ ? subwords_->model() : to_hex();
}

Vocabulary Vocabulary::from_stored(TokenUnit level, std::string_view text) {
  switch (level) {
    case TokenUnit::word:
      return of_words(text);
    case TokenUnit::subword:
      return of_subwords(text);
    default:
      return from_hex(text);
  }
}

std::string Vocabulary::to_hex() const {
  std::string hex;
  hex.reserve(2 * bytes_.size());
  for (uint8_t byte : bytes_) hex += fmt::format("{:02x}", byte);
  return hex;
}

uint8_t Vocabulary::byte(int32_t id) const {
  TANDEM_CHECK(level() == TokenUnit::byte, "vocabulary: of {}s, not of bytes", name_of(level()));
  TANDEM_CHECK(id >= 0 && id < size(), "vocabulary: id {} is outside of 0 .. {}", id, size() - 1);
  return bytes_[static_cast<size_t>(id)];
}

void Vocabulary::check_covers(std::span<const uint8_t> bytes) const {
  for (size_t offset = 0; offset < bytes.size(); ++offset)
    TANDEM_CHECK(
        contains(bytes[offset]),
        "vocabulary: byte {:#04x} at offset {} is not among the {} byte values that this vocabulary has; use text of "
        "the corpus that it was made from",
        bytes[offset], offset, size());
}

std::vector<int32_t> Vocabulary::encode(std::span<const uint8_t> bytes) const {
  if (level() != TokenUnit::byte)
    return encode(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  check_covers(bytes);
  std::vector<int32_t> ids(bytes.size());
  for (size_t i = 0; i < bytes.size(); ++i) ids[i] = ids_[bytes[i]];
  return ids;
}

std::vector<int32_t> Vocabulary::encode(std::string_view text) const {
  if (subwords_) return subwords_->encode(text);
  if (!words_) return encode(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  std::vector<int32_t> ids;
  for_each_word(
      text, [this, &ids](std::string_view word) { ids.push_back(words_->id(word)); },
      [this, &ids] { ids.push_back(words_->line_end()); });
  return ids;
}

std::string Vocabulary::piece(int32_t id, int32_t before) const {
  if (subwords_) return std::string(subwords_->text(id));
  if (!words_) return std::string(1, static_cast<char>(byte(id)));
  if (id == line_end()) return "\n";
  const bool begins_line = before < 0 || before == line_end();
  return (begins_line ? "" : " ") + std::string(words_->word(id));
}

std::string Vocabulary::decode(std::span<const int32_t> ids) const {
  std::string text;
  int32_t before = -1;
  for (const int32_t id : ids) {
    text += piece(id, before);
    before = id;
  }
  return text;
}

const WordVocabulary& Vocabulary::words() const {
  TANDEM_CHECK(words_, "vocabulary: of {} {}, not of words", size(), subwords_ ? "subwords" : "byte values");
  return *words_;
}

const SubwordVocabulary& Vocabulary::subwords() const {
  TANDEM_CHECK(subwords_, "vocabulary: of {} {}, not of subwords", size(), words_ ? "words" : "byte values");
  return *subwords_;
}

bool Vocabulary::operator==(const Vocabulary& other) const {
  if (level() != other.level()) return false;
  if (words_) return words_ == other.words_ || words_->text() == other.words_->text();
  if (subwords_) return subwords_ == other.subwords_ || subwords_->model() == other.subwords_->model();
  return bytes_ == other.bytes_;
}

}  // namespace tandem
