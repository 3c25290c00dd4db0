// Files as bytes: reading, checksums, unpacking, and writes that survive a crash.
#pragma once
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tandem/data/download/archive.h"

struct evp_md_ctx_st;  // OpenSSL's state of a digest

namespace tandem {

// Is called several times a second with bytes done and bytes in all (0 if unknown). An exception from it stops
// the work and reaches the caller.
using ByteProgress = std::function<void(int64_t done, int64_t total)>;

// Returns all bytes of a file. Error: it is missing, unreadable or a folder.
std::vector<uint8_t> read_file(const std::filesystem::path& path);

// Opens a file to be written from its beginning or, if `append`, from its end, and creates it if need be.
// Error: it cannot be written; it is a symbolic link, which is not followed, or a pipe.
std::unique_ptr<std::FILE, int (*)(std::FILE*)> open_to_write(const std::filesystem::path& path,
                                                              bool append = false);

// An expected checksum.
struct Checksum {
  std::string algorithm;  // as OpenSSL names it: "md5", "sha1", "sha256"
  std::string hex;        // lower-case digits
};

// The checksum of bytes that arrive piece by piece.
class RunningChecksum {
 public:
  // Error: OpenSSL has no digest of that name.
  explicit RunningChecksum(const std::string& algorithm);
  void update(std::span<const uint8_t> bytes);
  // Returns lower-case digits; is called once, after the last update().
  std::string hex();

 private:
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> context_;
};

// Returns the checksum of bytes, or of a file (read in a stream), as lower-case hex digits.
std::string checksum(const std::string& algorithm, std::span<const uint8_t> bytes);
std::string file_checksum(const std::string& algorithm, const std::filesystem::path& path);

// Returns the digest (core/digest.h) of a file, which it reads in a stream. Error: as read_file().
std::string file_digest(const std::filesystem::path& path);

struct Unpacked {
  int64_t size = 0;  // in bytes
  std::string checksum;
};

// Reads a source to its end and returns the size and checksum of its bytes.
Unpacked read_through(ByteSource& source, const std::string& algorithm);

// Writes to the file `destination` the file `entry` of an archive (zip or tar), the content of a gzip file, or
// the bytes of any other file, in a stream, and syncs it to disk. Returns the size and checksum of what was
// written. A file that `destination` names before is removed first, and a symbolic link is not followed.
// CorruptArchive: the archive is broken or holds more than `max_size` bytes. Error: `destination` cannot be written.
// After any error there is no `destination`.
Unpacked unpack(const std::filesystem::path& archive, const std::string& entry,
                const std::filesystem::path& destination, int64_t max_size, const std::string& algorithm,
                const ByteProgress& progress = {});

// Renames a complete, synced file to its final name and syncs the folder, so that after a crash there is either
// the old or the new file, whole.
void commit_file(const std::filesystem::path& temporary, const std::filesystem::path& destination);

}  // namespace tandem
