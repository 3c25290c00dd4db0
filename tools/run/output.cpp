// Standard streams.
#include "tandem/tools/run/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <string>

#include "tandem/core/check.h"

namespace tandem {
namespace {

int lost_output = 0;  // errno of the first failure; 0: none

}  // namespace

void open_standard_streams() {
  // Opened for the wrong direction, so that using one fails as it does on a closed descriptor.
  const auto open_if_closed = [](int descriptor, int flags) {
    if (fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) return;
    const int opened = ::open("/dev/null", flags);  // takes the lowest free descriptor, which is this one
    if (opened >= 0 && opened != descriptor) ::close(opened);
  };
  open_if_closed(STDIN_FILENO, O_WRONLY);
  open_if_closed(STDOUT_FILENO, O_RDONLY);
  open_if_closed(STDERR_FILENO, O_RDONLY);
}

void outlive_reader() {
  std::signal(SIGPIPE, SIG_IGN);
}

void say(std::string_view text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  const int reason = errno;
  if (lost_output == 0)
    std::cerr << fmt::format("note: the standard output cannot be written ({}); training goes on",
                             std::strerror(reason))
              << std::endl;
  const bool reader_left = reason == EPIPE;
  if (reader_left && !std::freopen("/dev/null", "w", stdout)) std::clearerr(stdout);
  lost_output = reader_left ? lost_output : reason;
}

void check_output() {
  errno = 0;
  std::cout.flush();
  const bool flushed = std::fflush(stdout) == 0;
  if (lost_output == 0 && (!flushed || !std::cout || std::ferror(stdout)))
    lost_output = errno != 0 ? errno : EIO;
  TANDEM_CHECK(lost_output == 0, "the standard output could not be written: {}", std::strerror(lost_output));
}

}  // namespace tandem
