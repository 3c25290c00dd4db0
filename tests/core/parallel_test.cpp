// Parallel loops: every item once, and exceptions that leave them on the caller's thread.
#include "tandem/core/parallel.h"

#include <doctest/doctest.h>

#include <atomic>
#include <new>
#include <vector>

#include "tandem/core/error.h"
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

TEST_CASE("parallel errors: after the first error further tasks do nothing") {
  ParallelErrors errors;
  int ran = 0;
  errors.run([&ran] { ++ran; });
  errors.run([] { throw Error("first"); });
  errors.run([&ran] {
    ++ran;
    throw Error("second");
  });
  CHECK(ran == 1);
  CHECK(error_of([&errors] { errors.rethrow(); }) == "first");
}

}  // namespace tandem::testing
