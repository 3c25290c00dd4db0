// Text from outside: whether bytes are UTF-8, a reversible way to write any bytes as UTF-8, and what a terminal may show.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// Returns the bytes of the character that the text begins with, 1 to 4; 0 if it is empty or does not begin with one.
size_t character_length(std::string_view text);

// Returns whether the bytes are well-formed UTF-8: no overlong forms, no surrogates, nothing beyond U+10FFFF.
bool is_utf8(std::string_view bytes);

// Returns UTF-8 that stands for these bytes: bytes that are not UTF-8 become \xHH, and a backslash before an x becomes
// \x5c. For names of files, which may hold any bytes, in JSON.
std::string escaped_utf8(std::string_view bytes);

// Undoes escaped_utf8(): every \xHH, with two hex digits, becomes that byte.
std::string unescaped_utf8(std::string_view text);

// Returns the bytes as UTF-8. U+FFFD replaces each longest beginning of a character that is not completed, and each byte that
// begins no character, as the Unicode standard recommends (section 3.9).
std::string replaced_utf8(std::string_view bytes);

// Returns where the characters of replaced_utf8() begin in the bytes.
std::vector<size_t> character_starts(std::string_view bytes);

// Returns the number of bytes at the end, 0 to 3, that are the beginning of a character which more bytes may complete.
size_t unfinished_utf8(std::string_view bytes);

// Returns text that cannot command a terminal: control characters except newline and tab, DEL, the C1 controls and
// bytes that are not UTF-8 become \xHH.
std::string printable(std::string_view text);

// Returns the beginning of a text for an error message, on one line: printable(), with newlines and tabs as \xHH too,
// and "..." in place of what exceeds about `longest` bytes.
std::string printable_start(std::string_view text, size_t longest = 200);

}  // namespace tandem
