// The digest of a token file's contents, by which a damaged file is recognised.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tandem {

// Returns the xxh3-128 of the ids, the words and the text of the splits, one after the other, as 32 hex digits.
// Error, which names `path`: an id outside 0 .. vocabulary_size - 1.
std::string check_tokens(const std::string& path, std::span<const int32_t> ids, int32_t vocabulary_size,
                         std::string_view words, std::string_view splits);

}  // namespace tandem
