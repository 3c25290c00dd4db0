// Writing to a temporary file, syncing and renaming it.
#include "tandem/core/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tandem/core/check.h"
#include "tandem/core/file_lock.h"

namespace tandem {
namespace {

// Calls put(data, bytes), a system call that may write less than it is given, until everything is written.
template <class Put>
bool write_all(const void* data, size_t bytes, Put&& put) {
  constexpr size_t kLargestCall = size_t{1} << 30;  // the system writes at most 2 GiB at a time
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = put(next, std::min(bytes, kLargestCall));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    next += written;
    bytes -= static_cast<size_t>(written);
  }
  return true;
}

// Closes a file after a call failed, and leaves that call's errno for the message.
void close_after_failure(int file) {
  const int error = errno;
  ::close(file);
  errno = error;
}

}  // namespace

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), temporary_(path_ + ".tmp") {
  struct stat info {};
  TANDEM_CHECK(stat(path_.c_str(), &info) != 0 || S_ISREG(info.st_mode),
               "cannot write {}: it exists and is not a regular file; give another path", path_);
  open_temporary();
  if (ftruncate(file_, 0) != 0) {
    close_after_failure(file_);
    fail("truncate");
  }
}

// Locks the temporary file, because two writers of one path would mix their bytes. If the other writer renamed the file
// to its final name between open and flock, the lock is on the finished file: close it and try again.
void AtomicFile::open_temporary() {
  while (true) {
    file_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (file_ < 0) fail("open the temporary file");
    if (!try_lock_file(file_)) {
      ::close(file_);
      detail::fail("cannot write {}: another process is writing {}; wait for it or stop it", path_,
                   temporary_);
    }
    struct stat locked {
    }, named{};
    if (fstat(file_, &locked) != 0 || (lstat(temporary_.c_str(), &named) != 0 && errno != ENOENT)) {
      close_after_failure(file_);
      fail("look at the temporary file");
    }
    if (locked.st_ino == named.st_ino && locked.st_dev == named.st_dev) return;
    ::close(file_);
  }
}

AtomicFile::~AtomicFile() {
  if (file_ < 0) return;
  unlink(temporary_.c_str());
  ::close(file_);
}

bool write_fully(int file, const void* data, size_t bytes) {
  return write_all(data, bytes, [file](const void* part, size_t size) { return ::write(file, part, size); });
}

void AtomicFile::write(const void* data, size_t bytes) {
  if (!write_fully(file_, data, bytes)) fail("write");
}

void AtomicFile::write_at(uint64_t offset, const void* data, size_t bytes) {
  const auto put = [this, &offset](const void* part, size_t size) {
    const ssize_t written = pwrite(file_, part, size, static_cast<off_t>(offset));
    if (written > 0) offset += static_cast<uint64_t>(written);
    return written;
  };
  if (!write_all(data, bytes, put)) fail("write");
}

void AtomicFile::commit() {
  if (fsync(file_) != 0) fail("sync");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename the temporary file");
  ::close(std::exchange(file_, -1));
  // The new name is durable only when the folder is synced. Some file systems cannot sync a folder; the file is whole
  // all the same.
  const size_t slash = path_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  const int directory = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return;
  fsync(directory);
  ::close(directory);
}

void AtomicFile::fail(const char* step) const {
  detail::fail("cannot write {}: {}: {}; a file of that name, if there was one, is unchanged", path_, step,
               std::strerror(errno));
}

void write_file_atomically(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

}  // namespace tandem
