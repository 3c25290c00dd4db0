// Parallel loops: every item once, and exceptions that leave them on the caller's thread.
#include "tandem/core/parallel.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <new>
#include <thread>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/core/thread_pool.h"
#include "tests/support/errors.h"
#include "tests/support/threads.h"

namespace tandem::testing {

TEST_CASE("parallel loops: every item is visited once, whatever the number of threads") {
  for (const int threads : {1, 2, 3}) {
    const Threads use(threads);
    std::vector<std::atomic<int>> visits(100'003);
    cpu::for_blocks(100'003, 1000, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++visits[i];
    });
    cpu::parallel_for(100'003, true, [&](int64_t i) { ++visits[i]; });
    int wrong = 0;
    for (const auto& count : visits) wrong += count != 2;
    CHECK(wrong == 0);
  }
}

TEST_CASE("parallel loops: what an item throws reaches the caller, as it was thrown") {
  for (const int threads : {1, 2, 3}) {
    const Threads use(threads);
    const auto loop = [](const auto& fail) {
      cpu::for_blocks(100'000, 100, 1, [&fail](int64_t begin, int64_t) {
        if (begin >= 50'000) fail();
      });
    };
    CHECK(error_of([&loop] { loop([] { throw Error("a block failed"); }); }) == "a block failed");
    CHECK_THROWS_AS(loop([] { throw std::bad_alloc(); }), std::bad_alloc);
    CHECK_THROWS_AS(loop([] { throw OutOfMemory("none"); }), OutOfMemory);
    loop([] {});
  }
}

TEST_CASE("parallel loops: a loop has more items than the pool counts in one range") {
  const Threads two(2);
  constexpr int64_t kCount = (int64_t{1} << 25) + 3;
  std::atomic<int64_t> sum = 0;
  std::vector<int64_t> sums(2 * 64);  // of each thread, apart from one another
  cpu::parallel_for(kCount, true,
                    [&sums](int64_t i) { sums[static_cast<size_t>(64 * cpu::thread_index())] += i; });
  for (const int64_t one : sums) sum += one;
  CHECK(sum == kCount * (kCount - 1) / 2);
}

TEST_CASE(
    "parallel loops: a thread has an index below the number of threads, also when that changes from loop to loop") {
  std::atomic<int> wrong = 0;
  for (int round = 0; round < 2000; ++round) {
    const int threads = 1 + round % 4;
    const Threads use(threads);
    cpu::parallel_for(16, true, [&wrong, threads](int64_t) {
      if (cpu::thread_index() < 0 || cpu::thread_index() >= threads) ++wrong;
    });
  }
  CHECK(wrong == 0);
  CHECK(cpu::thread_index() == 0);
}

TEST_CASE("parallel loops: a loop within a loop is done by one thread, whose index in it is 0") {
  const Threads use(3);
  std::atomic<int> visits = 0, wrong = 0;
  cpu::parallel_for(50, true, [&](int64_t) {
    const int outer = cpu::thread_index();
    const auto self = std::this_thread::get_id();
    cpu::parallel_for(20, true, [&](int64_t) {
      ++visits;
      if (std::this_thread::get_id() != self || cpu::thread_index() != 0) ++wrong;
    });
    if (cpu::thread_index() != outer) ++wrong;
  });
  CHECK(visits == 1000);
  CHECK(wrong == 0);
}

TEST_CASE("parallel loops: several threads of a program may begin loops at the same time") {
  std::atomic<int64_t> visits = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&visits] {
      const Threads use(3);
      for (int round = 0; round < 200; ++round) cpu::parallel_for(30, true, [&visits](int64_t) { ++visits; });
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(visits == 4 * 200 * 30);
}

// The second thread sleeps in its task, as if it had lost its core to another program.
TEST_CASE("parallel loops: a thread that loses its core in a task is left out of the next loops") {
  const Threads two(2);
  int withheld = 0;
  for (int round = 0; round < 200 && withheld == 0; ++round) {  // until the second thread comes in time
    std::atomic<int> begun = 0;
    cpu::parallel_for(2, true, [&begun](int64_t) {
      ++begun;
      const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
      while (begun < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
      if (cpu::thread_index() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    });
    withheld = ThreadPool::instance().threads_withheld();
  }
  CHECK(withheld == 1);
}

TEST_CASE("parallel loops: a loop ends without threads that do not run") {
  const Threads use(4);
  cpu::parallel_for(100, true, [](int64_t) {});
  const pid_t child = fork();
  if (child == 0) {  // it has the memory of the pool, but none of its threads
    std::atomic<int> visits = 0;
    for (int round = 0; round < 10; ++round) cpu::parallel_for(100, true, [&visits](int64_t) { ++visits; });
    _exit(visits == 1000 ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace tandem::testing
