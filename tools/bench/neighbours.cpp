// Processes that do nothing but compute.
#include "tools/bench/neighbours.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "tandem/core/check.h"

namespace tandem {

Neighbours::Neighbours(int64_t count) {
  const pid_t self = getpid();
  for (int64_t i = 0; i < count; ++i) {
    const pid_t child = fork();
    TANDEM_CHECK(child >= 0, "--neighbours={}: process {} cannot be started: {}", count, i + 1,
                 std::strerror(errno));
    if (child > 0) {
      processes_.push_back(child);
      continue;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != self) _exit(0);  // this process has ended before the call above
    for (std::atomic<uint64_t> work = 0;;) work.fetch_add(1, std::memory_order_relaxed);
  }
}

Neighbours::~Neighbours() {
  for (const pid_t process : processes_) {
    kill(process, SIGKILL);
    waitpid(process, nullptr, 0);
  }
}

void add_neighbours_flag(Flags& flags, int64_t& count) {
  flags.add("--neighbours", count, "Measure training beside this many processes that keep a core busy each.")
      .range(0, 1024)
      .show_default();
}

}  // namespace tandem
