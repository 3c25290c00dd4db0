// File locks by flock(), which the system releases when the process ends.
#include "tandem/core/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "tandem/core/check.h"

namespace tandem {
namespace {

int open_lock(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  TANDEM_CHECK(descriptor >= 0, "{}: cannot be written: {}", path, std::strerror(errno));
  return descriptor;
}

// Returns false if another process holds the lock. A file system that has no locks counts as free.
bool lock(int descriptor, int mode) {
  while (::flock(descriptor, mode) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno != EINTR) break;
  }
  return true;
}

std::string holder_in(int descriptor) {
  std::array<char, 256> text{};
  const ssize_t count = pread(descriptor, text.data(), text.size(), 0);
  std::string holder(text.data(), static_cast<size_t>(std::max<ssize_t>(count, 0)));
  holder.resize(std::min(holder.find('\n'), holder.size()));
  return holder.starts_with("process ") ? holder : "another process";
}

}  // namespace

bool try_lock_file(int descriptor) {
  return lock(descriptor, LOCK_EX | LOCK_NB);
}

FileLock::FileLock(const std::string& path, const std::function<void(const std::string&)>& on_wait)
    : descriptor_(open_lock(path)) {
  if (!try_lock_file(descriptor_)) {
    if (on_wait) on_wait(holder_in(descriptor_));
    lock(descriptor_, LOCK_EX);
  }
  write_holder();
}

std::optional<FileLock> FileLock::try_lock(const std::string& path, std::string& holder) {
  FileLock file;
  file.descriptor_ = open_lock(path);
  if (!try_lock_file(file.descriptor_)) {
    holder = holder_in(file.descriptor_);
    return std::nullopt;
  }
  file.write_holder();
  return file;
}

// Only informs other processes, so a full disk is no error.
void FileLock::write_holder() const {
  std::array<char, 256> host{}, time{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  const std::time_t now = std::time(nullptr);
  struct tm utc {};
  std::strftime(time.data(), time.size(), "%F %T", gmtime_r(&now, &utc));
  const std::string text =
      fmt::format("process {} on {}, since {} UTC\n", getpid(), host.data(), time.data());
  if (ftruncate(descriptor_, 0) == 0 && pwrite(descriptor_, text.data(), text.size(), 0) < 0) return;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace tandem
