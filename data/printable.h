// printable(): text of unknown origin, made fit for a message.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace tandem {

// Returns a text for a message. Control characters, which could change what a terminal shows, and bytes that are not
// UTF-8 become \x1b and the like. Of a text of more than `longest` bytes the beginning is left, with its length.
std::string printable(std::string_view text, size_t longest = 200);

}  // namespace tandem
