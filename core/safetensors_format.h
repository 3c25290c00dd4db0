// Names in the header of safetensors files, and the digests of Tandem's own files, for the reader and the writer.
//
// A file that Tandem writes has two more entries of metadata. Each holds digests (core/digest.h) as hex:
//     "tandem.digest.header"    of the file's bytes before the data, with zeros in place of these 32 characters
//     "tandem.digest.tensors"   of each tensor's bytes, in the order of the data, with spaces between them
// There are two keys so that a file in which one was damaged does not pass for one of another program.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tandem/core/dtype.h"

namespace tandem::safetensors {

inline constexpr uint64_t kLongestHeader = 100'000'000;
inline constexpr const char* kMetadata = "__metadata__";
inline constexpr const char* kHeaderDigest = "tandem.digest.header";
inline constexpr const char* kTensorDigests = "tandem.digest.tensors";

// Returns empty for a name of no dtype that Tandem has.
std::optional<DType> dtype_from(std::string_view name);
std::string_view format_name(DType dtype);

// Returns a name for messages: in quotes, cut if it is long, without control characters.
std::string in_quotes(std::string_view name);

// Returns where the 32 characters of the header's own digest begin in the bytes before the data; npos if there are
// none. The header is as Tandem writes it, without spaces.
size_t header_digest_position(std::string_view start);

// Returns the digest of these bytes before the data, whose own digest begins at `position`.
std::string header_digest(std::string start, size_t position);

}  // namespace tandem::safetensors
