// Decoding and escaping of UTF-8.
#include "tandem/core/utf8.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace tandem {

// The table of well-formed sequences is table 3-7 of the Unicode standard: only the second byte's range depends on the first.
size_t character_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [text](size_t i) -> unsigned { return static_cast<uint8_t>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  const unsigned lowest = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const unsigned highest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < lowest || byte(1) > highest) return 0;
  for (size_t i = 2; i < length; ++i)
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  return length;
}

namespace {

std::string hex_escape(char byte) {
  return fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
}

// Copies the text character by character; writes each byte of a character for which `escape(rest, length)` holds, and
// each byte that is not UTF-8, as \xHH. `rest` begins with the character.
template <class Escape>
std::string escaped(std::string_view text, const Escape& escape) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const size_t length = character_length(text);
    const size_t taken = std::max<size_t>(length, 1);
    if (length > 0 && !escape(text, length)) {
      result += text.substr(0, length);
    } else {
      for (const char byte : text.substr(0, taken)) result += hex_escape(byte);
    }
    text.remove_prefix(taken);
  }
  return result;
}

// Returns whether the text begins with a control character: C0, DEL, or C1, which UTF-8 writes as 0xc2 0x80..0x9f.
bool is_control(std::string_view text, size_t length) {
  const auto first = static_cast<uint8_t>(text[0]);
  if (length == 1) return first < 0x20 || first == 0x7f;
  return first == 0xc2 && static_cast<uint8_t>(text[1]) < 0xa0;
}

}  // namespace

bool is_utf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t length = character_length(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

std::string escaped_utf8(std::string_view bytes) {
  return escaped(bytes, [](std::string_view rest, size_t) { return rest.starts_with("\\x"); });
}

std::string unescaped_utf8(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  while (!text.empty()) {
    uint8_t value = 0;
    if (text.starts_with("\\x") && text.size() >= 4 &&
        std::from_chars(text.data() + 2, text.data() + 4, value, 16).ptr == text.data() + 4) {
      bytes += static_cast<char>(value);
      text.remove_prefix(4);
    } else {
      bytes += text[0];
      text.remove_prefix(1);
    }
  }
  return bytes;
}

std::string printable(std::string_view text) {
  return escaped(text, [](std::string_view rest, size_t length) {
    return is_control(rest, length) && rest[0] != '\n' && rest[0] != '\t';
  });
}

std::string printable_start(std::string_view text, size_t longest) {
  std::string_view start = text.substr(0, longest);
  if (start.size() < text.size()) {
    // A character that the cut would split is left out as a whole.
    for (size_t back = 1; back <= 3 && back <= start.size(); ++back)
      if (const size_t at = start.size() - back; character_length(text.substr(at)) > back) {
        start = start.substr(0, at);
        break;
      }
  }
  std::string result = escaped(start, is_control);
  if (start.size() < text.size()) result += "...";
  return result;
}

}  // namespace tandem
