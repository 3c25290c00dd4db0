// Archives read as streams: the files inside a zip or a tar, one after the other, without unpacking them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "core/error.h"

namespace tandem {

// What an archive holds cannot be had: truncated, altered, or without the file looked for.
class CorruptArchive : public Error {
 public:
  using Error::Error;
};

// A file that is read from front to back.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Fills the beginning of `block`; the number of bytes, 0 at the end. Throws CorruptArchive.
  virtual size_t read(std::span<uint8_t> block) = 0;
};

// The content of a gzip file (dictzip included), or the bytes of any other file as they are. A gzip file that
// is truncated or fails its checksum throws when its end is read.
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

// The files of an archive in the order of the archive; read() is of the one that next() went to last.
class Archive : public ByteSource {
 public:
  // Tells zip, tar and gzipped tar apart by their content. Any other file, gzip or not, is taken for the only
  // file of an archive, without a name. Throws when there is no such file.
  static std::unique_ptr<Archive> open(const std::filesystem::path& path);

  // Goes to the next file and gives its path in the archive; false when there are no more.
  virtual bool next(std::string& name) = 0;
};

}  // namespace tandem
