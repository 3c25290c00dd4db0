// ThreadBackoff: with how many threads loops run while other programs hold some of the cores.
//
// A thread that loses its core in the middle of a task lets the whole loop wait, for a time slice of the kernel. Beside a
// busy program that happens every few milliseconds, and then one thread less is faster. After such a loss a thread is
// withheld for a pause; when it is tried again and its core is lost soon, the next pause is twice as long.
#pragma once
#include <algorithm>
#include <chrono>

namespace tandem {

class ThreadBackoff {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::duration kFirstPause = std::chrono::milliseconds(20),
                                   kLongestPause = std::chrono::seconds(1);

  // Returns how many threads are left out. If none is, allowed() does not depend on the time.
  int withheld() const { return withheld_; }

  // Returns with how many threads, at most `wanted` and at least one, a loop that begins now is to run.
  int allowed(int wanted, Clock::time_point now) {
    if (withheld_ > 0 && now >= next_try_) {
      --withheld_;
      last_try_ = now;
      next_try_ = now + pause_;
    }
    return std::max(1, wanted - withheld_);
  }

  // Notes that a loop for which `wanted` threads were asked has waited for one that had lost its core.
  void core_lost(int wanted, Clock::time_point now) {
    const bool soon = now - last_try_ < 2 * pause_;
    pause_ = soon ? std::min(2 * pause_, kLongestPause) : kFirstPause;
    withheld_ = std::min(withheld_ + 1, wanted - 1);
    next_try_ = now + pause_;
  }

 private:
  int withheld_ = 0;
  Clock::duration pause_ = kFirstPause;
  Clock::time_point next_try_{}, last_try_{};
};

}  // namespace tandem
