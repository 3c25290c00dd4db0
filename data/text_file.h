// TextFile: the text of a file of the user's, whether it is plain or gzip.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "tandem/data/download/archive.h"

namespace tandem {

// The content of a gzip file (dictzip included), or the bytes of any other file, from front to back.
class TextFile : public ByteSource {
 public:
  // Error: no such file; neither a file nor a pipe.
  explicit TextFile(const std::filesystem::path& path);

  // Error, from the first block: the file is a zip, 7z or tar archive, or packed by xz, zstd or bzip2: it is not
  // unpacked here, and its bytes as they are would be no text. CorruptArchive: the gzip data are truncated or altered.
  size_t read(std::span<uint8_t> block) override;
  // Returns whether the file is gzip. A pipe has been read from before it can tell.
  bool is_gzip() const { return file_.is_gzip(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  GzipFile file_;
  bool begun_ = false;
};

// Returns the bytes of memory that this machine has.
size_t memory_of_machine();

// Reads a whole text into memory. Error: as read(); the text has more than `max_bytes`, by default the memory of this
// machine: a gzip file can hold a thousand times its own size.
std::vector<uint8_t> read_text(TextFile& file, size_t max_bytes = memory_of_machine());

}  // namespace tandem
