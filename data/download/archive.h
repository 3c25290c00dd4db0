// Archive: reads the files inside a zip or a tar as streams, one after the other, without unpacking them to disk.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "tandem/core/error.h"

namespace tandem {

// An archive is truncated or altered, or lacks the file that was looked for.
class CorruptArchive : public Error {
 public:
  using Error::Error;
};

// A source of bytes that is read from front to back.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Reads up to block.size() bytes and returns their number, 0 at the end. CorruptArchive: they cannot be read.
  virtual size_t read(std::span<uint8_t> block) = 0;
};

// The content of a gzip file (dictzip included), or the bytes of any other file. Truncation or a wrong checksum
// shows only when the end of the file is read.
class GzipFile : public ByteSource {
 public:
  explicit GzipFile(const std::filesystem::path& path);
  ~GzipFile() override;
  bool is_gzip() const;
  size_t read(std::span<uint8_t> block) override;
  void rewind();

 private:
  std::string name_;
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

// The files of an archive, in its own order. read() reads the file that the last next() has moved to.
class Archive : public ByteSource {
 public:
  // Opens a zip, a tar or a gzipped tar, told apart by content. Any other file, gzip or not, is read as an
  // archive with one file that has no name. Error: there is no such file.
  static std::unique_ptr<Archive> open(const std::filesystem::path& path);

  // Moves to the next file and sets `name` to its path in the archive. Returns false if there are no more files.
  // CorruptArchive: the archive is broken, or a name has more than 4096 bytes.
  virtual bool next(std::string& name) = 0;
};

}  // namespace tandem
