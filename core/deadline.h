// Waiting for what other processes do, with a limit: between two looks, and in calls that cannot be left.
#pragma once
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace tandem {

// Yields the processor between two looks at what has arrived: hardly at first, for a millisecond after a while. A loop
// that spun instead would take the core from a rank that shares it.
class Patience {
 public:
  explicit Patience(double timeout) : timeout_(timeout) {}  // seconds; 0: no limit

  bool is_over() const { return timeout_ > 0 && waited() > timeout_; }
  void rest() const;

 private:
  using Clock = std::chrono::steady_clock;
  double waited() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  double timeout_;
  Clock::time_point start_ = Clock::now();
};

// Prints the complaint and ends the process if the watchdog lives longer than `timeout` seconds; 0: never. It guards calls
// of a library that cannot be left.
class Watchdog {
 public:
  Watchdog(double timeout, const std::string& complaint);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable done_signal_;
  bool done_ = false;
  std::thread thread_;  // last, since it uses the others
};

}  // namespace tandem
