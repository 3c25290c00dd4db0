// AtomicFile: replaces a file as a whole, so that whoever reads it, even after a crash, finds the old or the
// new one.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tandem {

// Writes to `path`.tmp in the same folder; commit() syncs it to the disk, renames it over `path` and syncs
// the folder. Without a commit the temporary file is removed and the old file is left as it was. A temporary
// file that a killed process left behind is taken over by the next writer. Every Error names the path and the
// system's reason. Errors of the constructor: `path` is something other than a regular file, its folder
// cannot be written, or another process is writing it now.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  // Puts bytes at an offset of their own; write() goes on where the last write() ended all the same.
  void write_at(uint64_t offset, const void* data, size_t bytes);
  void commit();

 private:
  void open_temporary();
  [[noreturn]] void fail(const char* step) const;  // with the reason in errno

  std::string path_;
  std::string temporary_;
  int file_ = -1;
};

// The whole of a new file at once.
void write_file_atomically(const std::string& path, std::string_view content);

}  // namespace tandem
