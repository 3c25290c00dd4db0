// Names in the header of a safetensors file, and the header's digest.
#include "tandem/core/safetensors_format.h"

#include <fmt/core.h>

#include "tandem/core/digest.h"
#include "tandem/core/utf8.h"

namespace tandem::safetensors {
namespace {

constexpr std::pair<std::string_view, DType> kDTypes[] = {{"F32", DType::f32},   {"F64", DType::f64},
                                                          {"BF16", DType::bf16}, {"I32", DType::i32},
                                                          {"I64", DType::i64},   {"U8", DType::u8}};

}  // namespace

std::optional<DType> dtype_from(std::string_view name) {
  for (const auto& [known, dtype] : kDTypes)
    if (known == name) return dtype;
  return std::nullopt;
}

std::string_view format_name(DType dtype) {
  for (const auto& [name, known] : kDTypes)
    if (known == dtype) return name;
  return "";
}

std::string in_quotes(std::string_view name) {
  return fmt::format("\"{}\"", printable_start(name));
}

// Within a JSON text the quotes of the key below would be escaped, so it is found only as a key.
size_t header_digest_position(std::string_view start) {
  const std::string key = fmt::format("\"{}\":\"", kHeaderDigest);
  const size_t found = start.find(key);
  if (found == std::string_view::npos || start.size() - found - key.size() < Digest::kCharacters)
    return std::string_view::npos;
  return found + key.size();
}

std::string header_digest(std::string start, size_t position) {
  start.replace(position, Digest::kCharacters, Digest::kCharacters, '0');
  return digest_of(start.data(), start.size());
}

}  // namespace tandem::safetensors
