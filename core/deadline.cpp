// Naps, and a thread that ends the process.
#include "tandem/core/deadline.h"

#include <sched.h>

#include <cstdio>
#include <cstdlib>

namespace tandem {

void Patience::rest() const {
  const double seconds = waited();
  if (seconds < 200e-6) return;
  if (seconds < 2e-3)
    sched_yield();
  else
    std::this_thread::sleep_for(std::chrono::microseconds(seconds < 1 ? 20 : 1000));
}

Watchdog::Watchdog(double timeout, const std::string& complaint)
    : thread_([this, timeout, complaint] {
        if (timeout <= 0) return;
        std::unique_lock lock(mutex_);
        const std::chrono::duration<double> limit(timeout);
        if (done_signal_.wait_for(lock, limit, [this] { return done_; })) return;
        std::fprintf(stderr, "error: %s\n", complaint.c_str());
        std::_Exit(1);
      }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  done_signal_.notify_one();
  thread_.join();
}

}  // namespace tandem
