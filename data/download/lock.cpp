// File locks by flock().
#include "data/download/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/check.h"

namespace tandem {

FileLock::FileLock(const std::filesystem::path& path)
    : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  CHECK(descriptor_ >= 0, "{}: cannot be written: {}; set TANDEM_DATA to a folder that can",
        path.parent_path().string(), std::strerror(errno));
  while (::flock(descriptor_, LOCK_EX) != 0 && errno == EINTR) {
  }
}

FileLock::~FileLock() {
  ::close(descriptor_);
}

}  // namespace tandem
