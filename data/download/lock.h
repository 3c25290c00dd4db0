// FileLock: keeps two processes from making the same file at once.
#pragma once
#include <filesystem>

namespace tandem {

// Locks the file `path`, creating it if need be, and unlocks it when destroyed. Waits while another process, or
// another FileLock of this process, holds the lock. A file system without locks is used without. Error: the
// file cannot be created.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& path);
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();

 private:
  int descriptor_;
};

}  // namespace tandem
