// Cuts texts into units.
#include "tandem/data/subwords/units.h"

#include "tandem/core/utf8.h"
#include "tandem/data/subwords/pieces.h"

namespace tandem {

size_t plain_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const size_t length = character_length(text);
  const bool reserved = text.starts_with(kBlankInPiece) || text.starts_with("\xe2\x96\x85");
  return reserved ? 0 : length;
}

bool is_plain(std::string_view text) {
  while (!text.empty()) {
    const size_t length = plain_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

size_t unit_length(std::string_view text) {
  size_t end = 0;
  bool blanks = true;  // so far
  while (end < text.size()) {
    const size_t length = plain_length(text.substr(end));
    const bool blank = text[end] == ' ';
    if (length == 0 || end + length > kLongestUnit || (blank && !blanks)) break;
    blanks = blank;
    end += length;
  }
  return end;
}

WordCounts count_units(std::string_view text) {
  WordCounts counts;
  for_each_unit(
      text, [&counts](std::string_view unit) { counts.add(unit); }, [](uint8_t) {});
  return counts;
}

}  // namespace tandem
