// Taking tasks, and waiting for them: first in a short loop, since the next loop often begins within microseconds, then
// asleep.
#include "tandem/core/thread_pool.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>

namespace tandem {
namespace {

constexpr uint64_t kUnitBits = 24;
constexpr int64_t kMostUnits = (1 << kUnitBits) - 1;
constexpr uint64_t kUnitMask = kMostUnits;
// A thread takes this part of what is left of a range, so that one that loses its core holds little.
constexpr int64_t kShare = 8;
// How long a thread looks for work, or for the end of the others' work, before it sleeps. Longer than the serial parts
// between two loops of a training step, and short beside the time slices of the kernel.
constexpr std::chrono::microseconds kPatience{100};
// A wait of this length during which the process hardly ran was one for a thread whose core another program holds, for a
// time slice of 3 to 4 ms. The host of a virtual machine often takes a core for 1 to 1.5 ms, which is no reason to leave it.
constexpr std::chrono::milliseconds kLongWait{2};

uint64_t word_of(int64_t first, int64_t end, int threads) {
  return static_cast<uint64_t>(first) | static_cast<uint64_t>(end) << kUnitBits |
         static_cast<uint64_t>(threads) << (2 * kUnitBits);
}

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Waits until `value` is no longer `old`, but at most kPatience. Returns whether it has changed.
bool changes_soon(const std::atomic<int32_t>& value, int32_t old) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  do {
    for (int i = 0; i < 32; ++i) {
      if (value.load(std::memory_order_acquire) != old) return true;
      pause_briefly();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

// Returns for how long all threads of the process together have run.
std::chrono::nanoseconds processor_time() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

// Sets a value while it lives.
template <class T>
class Scoped {
 public:
  Scoped(T& target, T value) : target_(target), before_(target) { target = value; }
  ~Scoped() { target_ = before_; }
  Scoped(const Scoped&) = delete;
  Scoped& operator=(const Scoped&) = delete;

 private:
  T &target_, before_;
};

}  // namespace

thread_local int ThreadPool::index_ = 0;
thread_local bool ThreadPool::in_task_ = false;

ThreadPool& ThreadPool::instance() {
  static ThreadPool* const pool =
      new ThreadPool;  // never destroyed, since its threads use it until the process ends
  return *pool;
}

void ThreadPool::run(int64_t count, int threads, Run run, void* body) {
  if (count <= 0) return;
  std::unique_lock lock(one_loop_, std::defer_lock);
  int wanted = threads;
  if (threads > 1 && count > 1 && !in_task_ && lock.try_lock()) {
    threads = wanted = start_threads(threads);
    if (backoff_.withheld() > 0) threads = backoff_.allowed(wanted, ThreadBackoff::Clock::now());
  }
  if (!lock.owns_lock() || threads == 1) {
    const Scoped index(index_, 0);
    return run(body, 0, count);
  }
  const Scoped in_task(in_task_, true);
  run_ = run;
  body_ = body;
  count_ = count;
  tasks_per_unit_ = (count + kMostUnits - 1) / kMostUnits;
  const int64_t units = (count + tasks_per_unit_ - 1) / tasks_per_unit_;
  units_.store(static_cast<int32_t>(units), std::memory_order_relaxed);
  units_done_.store(0, std::memory_order_relaxed);
  for (int i = 0; i < threads; ++i)
    ranges_[static_cast<size_t>(i)].word.store(
        word_of(units * i / threads, units * (i + 1) / threads, threads), std::memory_order_release);
  loops_.fetch_add(1, std::memory_order_release);
  loops_.notify_all();
  do_units(0);
  if (!wait_for_units()) backoff_.core_lost(wanted, ThreadBackoff::Clock::now());
}

int ThreadPool::threads_withheld() {
  const std::lock_guard lock(one_loop_);
  return backoff_.withheld();
}

int ThreadPool::start_threads(int wanted) {
  wanted = std::min(wanted, kMostThreads);
  while (started_ + 1 < wanted) try {
      std::thread([this, index = started_ + 1] { work(index); }).detach();
      ++started_;
    } catch (
        const std::system_error&) {  // for want of memory or because of a limit: fewer threads do the work
      break;
    }
  return std::min(wanted, started_ + 1);
}

void ThreadPool::work(int index) {
  index_ = index;
  in_task_ = true;
  while (true) {
    const int32_t seen = loops_.load(std::memory_order_acquire);
    do_units(index);
    if (!changes_soon(loops_, seen)) loops_.wait(seen, std::memory_order_acquire);
  }
}

// Does units of the loop until none is left that nobody has taken.
void ThreadPool::do_units(int index) {
  const uint64_t word = ranges_[static_cast<size_t>(index)].word.load(std::memory_order_relaxed);
  const int threads = static_cast<int>(word >> (2 * kUnitBits));
  for (int i = 0; i < threads; ++i) {
    const int from = (index + i) % threads;
    for (Units units = take(index, from); units.begin < units.end; units = take(index, from)) {
      run_(body_, units.begin * tasks_per_unit_, std::min(count_, units.end * tasks_per_unit_));
      const auto taken = static_cast<int32_t>(units.end - units.begin);
      const int32_t done = units_done_.fetch_add(taken, std::memory_order_acq_rel) + taken;
      if (done == units_.load(std::memory_order_relaxed)) units_done_.notify_one();
    }
  }
}

// Takes some units of the range `from`; none if there are none, or if thread `index` has no part in the loop.
ThreadPool::Units ThreadPool::take(int index, int from) {
  std::atomic<uint64_t>& range = ranges_[static_cast<size_t>(from)].word;
  uint64_t word = range.load(std::memory_order_acquire);
  while (true) {
    const auto first = static_cast<int64_t>(word & kUnitMask),
               end = static_cast<int64_t>(word >> kUnitBits & kUnitMask);
    const int threads = static_cast<int>(word >> (2 * kUnitBits));
    if (first >= end || index >= threads) return {};
    const int64_t next = first + std::max<int64_t>(1, (end - first) / kShare);
    if (range.compare_exchange_weak(word, word_of(next, end, threads), std::memory_order_acq_rel,
                                    std::memory_order_acquire))
      return {first, next};
  }
}

bool ThreadPool::wait_for_units() {
  const int32_t units = units_.load(std::memory_order_relaxed);
  bool core_lost = false;
  for (int32_t done = units_done_.load(std::memory_order_acquire); done != units;
       done = units_done_.load(std::memory_order_acquire)) {
    if (changes_soon(units_done_, done)) continue;
    const auto start = std::chrono::steady_clock::now();
    const std::chrono::nanoseconds ran = processor_time();
    units_done_.wait(done, std::memory_order_acquire);
    const auto waited = std::chrono::steady_clock::now() - start;
    core_lost |= waited >= kLongWait && processor_time() - ran < waited / 2;
  }
  return !core_lost;
}

}  // namespace tandem
