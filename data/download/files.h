// Files as bytes: reading them whole, checksums, unpacking, and writes that survive a crash.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/download/archive.h"

namespace tandem {

// Told bytes done and bytes in all (0 when unknown), some times a second. What it throws stops the work and
// reaches the caller.
using ByteProgress = std::function<void(int64_t done, int64_t total)>;

// All bytes of a file; throws when it is missing, unreadable or a folder.
std::vector<uint8_t> read_file(const std::filesystem::path& path);

// All bytes that a gzip file holds (dictzip included); CorruptArchive when it is not gzip, is truncated, or
// fails its checksum.
std::vector<uint8_t> read_gzip(const std::filesystem::path& path);

// An expected digest: `algorithm` is one that OpenSSL knows ("md5", "sha1", "sha256"), `hex` lower-case
// digits.
struct Checksum {
  std::string algorithm;
  std::string hex;
};

// Lower-case hex digest of bytes, and of a file (streamed).
std::string checksum(const std::string& algorithm, std::span<const uint8_t> bytes);
std::string file_checksum(const std::string& algorithm, const std::filesystem::path& path);

struct Unpacked {
  int64_t size = 0;  // bytes
  std::string checksum;
};

// Reads a source to its end: size and digest of what it gave.
Unpacked read_through(ByteSource& source, const std::string& algorithm);

// Streams into the file `destination` the file `entry` of an archive (zip or tar), the content of a gzip
// file, or, when `archive` is none of these, its own bytes. Returns size and digest of what was written,
// synced to disk. CorruptArchive when the archive is broken or holds more than `max_size` bytes; Error when
// `destination` cannot be written. On any error no `destination` is left.
Unpacked unpack(const std::filesystem::path& archive, const std::string& entry,
                const std::filesystem::path& destination, int64_t max_size, const std::string& algorithm,
                const ByteProgress& progress = {});

// Renames a finished, synced file to its final name and syncs the folder: after a crash there is the old file
// or the new one, whole.
void commit_file(const std::filesystem::path& temporary, const std::filesystem::path& destination);

}  // namespace tandem
