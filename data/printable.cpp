// Escapes control characters and what is not UTF-8.
#include "data/printable.h"

#include <fmt/core.h>

#include <cstdint>

namespace tandem {
namespace {

// Returns the length of the character that `text`, which is not empty, begins with, or 0 if it is a control character
// or is not UTF-8.
size_t printable_length(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (byte(0) < 0x80) return byte(0) >= 0x20 && byte(0) != 0x7f ? 1 : 0;
  const size_t length = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  const bool control = byte(0) == 0xc2 && byte(1) < 0xa0;  // U+0080 .. U+009F
  return control ? 0 : length;
}

}  // namespace

std::string printable(std::string_view text, size_t longest) {
  std::string shown;
  for (size_t at = 0; at < text.size();) {
    const size_t length = printable_length(text.substr(at));
    if (at + length > longest || at == longest) return fmt::format("{}... ({} bytes)", shown, text.size());
    if (length == 0) shown += fmt::format("\\x{:02x}", static_cast<uint8_t>(text[at]));
    shown += text.substr(at, length);
    at += length == 0 ? 1 : length;
  }
  return shown;
}

}  // namespace tandem
