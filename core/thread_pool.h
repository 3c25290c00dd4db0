// ThreadPool: the threads that share the loops of CPU kernels; core/parallel.h is how kernels use it.
//
// The tasks of a loop are cut into one range for each thread. A thread takes tasks from its own range, a few at a time, and
// then from the ranges of others. The loop ends when all tasks are done, so that it waits only for threads that have
// taken one: where another program holds the core of a thread, the others do its tasks. An OpenMP region would wait until
// each of its threads has run. A thread that loses its core while it has a task must be waited for; after that, loops run
// with one thread less for a while (ThreadBackoff).
//
// Source: work stealing, Blumofe and Leiserson, "Scheduling Multithreaded Computations by Work Stealing" (1999), here with
// ranges of indices in place of queues.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "tandem/core/thread_backoff.h"

namespace tandem {

class ThreadPool {
 public:
  // Does the tasks begin .. end - 1 of a loop, whose body it knows. It must not throw.
  using Run = void (*)(void* body, int64_t begin, int64_t end);

  // Returns the pool of the process. Its threads are started when they are first needed, and never end.
  static ThreadPool& instance();

  // Returns the position of the calling thread among those that share its innermost loop, from 0; 0 outside of loops.
  static int thread_index() { return index_; }
  // Returns whether the calling thread is doing a task of a loop.
  static bool in_task() { return in_task_; }

  // Does the tasks 0 .. count - 1 on at most `threads` threads, the calling one among them, and returns when all are done.
  // The calling thread does them alone if it is in a task already, if another thread is using the pool, or if no thread can
  // be started.
  void run(int64_t count, int threads, Run run, void* body);

  // Returns how many threads are left out of loops, because other programs held their cores.
  int threads_withheld();

 private:
  static constexpr int kMostThreads = 512;

  // The units first .. end - 1 that nobody has taken, in one word together with the number of threads of the loop, so that
  // units are taken by one compare-and-swap: bits 0 to 23 hold `first`, 24 to 47 `end`, 48 to 63 the threads.
  struct alignas(64) Range {
    std::atomic<uint64_t> word = 0;
  };
  struct Units {
    int64_t begin = 0, end = 0;
  };

  ThreadPool() = default;

  // Returns the number of threads, at most `wanted`, that can share a loop.
  int start_threads(int wanted);
  void work(int index);
  void do_units(int index);
  Units take(int index, int from);
  // Waits until all units are done. Returns false if that was a wait for a thread that had lost its core.
  bool wait_for_units();

  std::mutex one_loop_;  // held during a loop of several threads
  ThreadBackoff backoff_;
  int started_ = 0;  // threads, without the calling ones
  std::array<Range, kMostThreads> ranges_;

  // The loop. A thread reads it after it has taken units, which keep the loop from ending.
  Run run_ = nullptr;
  void* body_ = nullptr;
  int64_t count_ = 0, tasks_per_unit_ = 1;
  std::atomic<int32_t> units_ = 0, units_done_ = 0;

  std::atomic<int32_t> loops_ = 0;  // begun so far; threads without work wait for a change

  static thread_local int index_;
  static thread_local bool in_task_;
};

}  // namespace tandem
