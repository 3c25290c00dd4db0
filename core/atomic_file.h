// AtomicFile: replaces a file as a whole, so that a reader finds either the old or the new one, even after a crash.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tandem {

// Writes to `path`.tmp in the same folder; commit() syncs it to the disk, renames it over `path` and syncs the folder.
// Without a commit the temporary file is removed and the old file is left as it was. A temporary file that a killed
// process left behind is overwritten by the next writer. Every Error names the path and the system's reason.
// Errors of the constructor: `path` exists and is not a regular file, its folder cannot be written, or another process
// is writing it now.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  // Writes at `offset`, without moving the position at which write() continues.
  void write_at(uint64_t offset, const void* data, size_t bytes);
  void commit();

 private:
  void open_temporary();
  [[noreturn]] void fail(const char* step) const;  // takes the reason from errno

  std::string path_;
  std::string temporary_;
  int file_ = -1;
};

// Writes all bytes at the position of an open file, however many calls that takes. Returns false, with the reason in
// errno, if the system cannot.
bool write_fully(int file, const void* data, size_t bytes);

// Replaces `path` by a file with this content. Error: as AtomicFile.
void write_file_atomically(const std::string& path, std::string_view content);

}  // namespace tandem
