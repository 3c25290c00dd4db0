// Units: what a text is cut into before SentencePiece sees it, so that nothing of the text is ever lost.
//
// SentencePiece replaces what is not UTF-8, reads U+2581 as a blank, and reserves U+2585, NUL and the tab. So bytes that are
// not UTF-8, control characters (newlines and tabs among them), U+2581 and U+2585 stand for themselves, byte by byte. All
// other text is plain. It is cut into units, each a run of blanks and the run of other characters after it, of which
// SentencePiece sees one at a time.
#pragma once
#include <algorithm>
#include <string_view>

#include "tandem/data/words/vocabulary.h"

namespace tandem {

// A unit has at most this many bytes; a longer one is cut between characters.
inline constexpr size_t kLongestUnit = 256;

// Returns the bytes of the plain character that the text begins with; 0 if it begins with none.
size_t plain_length(std::string_view text);

// Returns whether all of the text is plain.
bool is_plain(std::string_view text);

// Returns the bytes of the unit that the text begins with; 0 if it begins with a byte for itself.
size_t unit_length(std::string_view text);

// Calls on_unit(std::string_view) and on_byte(uint8_t) for the parts of the text, in their order. A newline ends a unit, so
// texts that are cut after a newline give the parts of the whole.
template <class OnUnit, class OnByte>
void for_each_unit(std::string_view text, OnUnit&& on_unit, OnByte&& on_byte) {
  while (!text.empty()) {
    const size_t length = unit_length(text);
    if (length > 0)
      on_unit(text.substr(0, length));
    else
      on_byte(static_cast<uint8_t>(text[0]));
    text.remove_prefix(std::max<size_t>(length, 1));
  }
}

// Returns how often each unit of the text occurs, in the order in which they first do.
WordCounts count_units(std::string_view text);

}  // namespace tandem
