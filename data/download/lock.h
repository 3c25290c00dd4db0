// A lock that processes which make the same file wait for.
#pragma once
#include <filesystem>

namespace tandem {

// Holds the lock file `path` until destroyed; waits while another process, or another FileLock of this one,
// holds it. Where the file system has no locks, goes on without. Throws when the file cannot be made.
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
