// Reads all ids once, for their range and for their digest.
#include "tandem/data/token_digest.h"

#include <algorithm>

#include "tandem/core/check.h"
#include "tandem/core/digest.h"

namespace tandem {
namespace {

constexpr size_t kBlock = size_t{1} << 14;  // ids that are still in the cache when they are read again

// Negative ids are large as unsigned numbers.
uint32_t largest(std::span<const int32_t> ids) {
  uint32_t result = 0;
  for (const int32_t id : ids) result = std::max(result, static_cast<uint32_t>(id));
  return result;
}

}  // namespace

std::string check_tokens(const std::string& path, std::span<const int32_t> ids, int32_t vocabulary_size,
                         std::string_view words, std::string_view splits) {
  Digest digest;
  for (size_t at = 0; at < ids.size(); at += kBlock) {
    const std::span<const int32_t> block = ids.subspan(at, std::min(kBlock, ids.size() - at));
    const uint32_t id = largest(block);
    TANDEM_CHECK(
        id < static_cast<uint32_t>(vocabulary_size),
        "{}: id {} among tokens {} .. {} is outside of the vocabulary, 0 .. {}; a token file with it is damaged: "
        "remove it",
        path, static_cast<int32_t>(id), at, at + block.size() - 1, vocabulary_size - 1);
    digest.update(block.data(), block.size_bytes());
  }
  digest.update(words.data(), words.size());
  digest.update(splits.data(), splits.size());
  return digest.hex();
}

}  // namespace tandem
