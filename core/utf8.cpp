// Decoding and escaping of UTF-8.
#include "tandem/core/utf8.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace tandem {
namespace {

// The beginning of a text: a character of `length` bytes or, if it is not whole, the longest beginning of one, at least one
// byte. It is unfinished if the text ends before the character does.
struct Beginning {
  size_t length;
  bool whole, unfinished = false;
};

// Decodes the beginning of a text that is not empty. The table of well-formed sequences is table 3-7 of the Unicode
// standard: only the second byte's range depends on the first.
Beginning beginning_of(std::string_view text) {
  const auto byte = [text](size_t i) -> unsigned { return static_cast<uint8_t>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return {1, true};
  const size_t length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length == 0) return {1, false};
  const unsigned lowest = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const unsigned highest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {i, false, /*unfinished=*/true};
    if (byte(i) < (i == 1 ? lowest : 0x80) || byte(i) > (i == 1 ? highest : 0xbf)) return {i, false};
  }
  return {length, true};
}

}  // namespace

size_t character_length(std::string_view text) {
  if (text.empty()) return 0;
  const Beginning beginning = beginning_of(text);
  return beginning.whole ? beginning.length : 0;
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

std::string replaced_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Beginning beginning = beginning_of(bytes);
    text += beginning.whole ? bytes.substr(0, beginning.length) : "\xef\xbf\xbd";
    bytes.remove_prefix(beginning.length);
  }
  return text;
}

std::vector<size_t> character_starts(std::string_view bytes) {
  std::vector<size_t> starts;
  for (size_t at = 0; at < bytes.size(); at += beginning_of(bytes.substr(at)).length) starts.push_back(at);
  return starts;
}

size_t unfinished_utf8(std::string_view bytes) {
  for (size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const Beginning beginning = beginning_of(bytes.substr(bytes.size() - back));
    if (beginning.unfinished && beginning.length == back) return back;
  }
  return 0;
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
