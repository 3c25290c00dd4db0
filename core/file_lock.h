// FileLock: keeps two processes from doing the same work at once.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace tandem {

// Locks an open file as FileLock does, until it is closed. Returns false if another process holds the lock.
bool try_lock_file(int descriptor);

// Locks the file `path`, creating it if need be, until it is destroyed or the process ends, in whatever way. The file
// then names the process that holds the lock, and it stays when the lock is gone. Another FileLock of this process
// counts as another process. A file system without locks is used without.
class FileLock {
 public:
  // Waits while another process holds the lock; first calls on_wait(holder) once, if it must wait at all. `holder` is
  // "process 123 on host.example, since 2026-11-29 12:00:00 UTC", or "another process" where the file does not say.
  // Error: the file cannot be created.
  explicit FileLock(const std::string& path,
                    const std::function<void(const std::string& holder)>& on_wait = {});
  // Returns the lock, or nothing if another process holds it; `holder` then names that process.
  // Error: the file cannot be created.
  static std::optional<FileLock> try_lock(const std::string& path, std::string& holder);

  FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();

 private:
  FileLock() = default;
  void write_holder() const;

  int descriptor_ = -1;
};

}  // namespace tandem
