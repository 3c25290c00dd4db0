// The caching allocator's policy over a simulated memory source: reuse, split, merge, streams, events, out of
// memory.
#include "tandem/core/caching_allocator.h"

#include <doctest/doctest.h>
#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/errors.h"
#include "tests/support/fake_memory.h"

namespace tandem::testing {
namespace {

ptrdiff_t distance(void* from, void* to) {
  return static_cast<char*>(to) - static_cast<char*>(from);
}

}  // namespace

TEST_CASE("allocator: a freed block is handed out again without asking the source") {
  Fixture f;
  void* first = f.allocator.allocate(50 * kMiB, 0);
  f.allocator.free(first);
  for (int step = 0; step < 100; ++step) {
    void* again = f.allocator.allocate(50 * kMiB, 0);
    CHECK(again == first);
    f.allocator.free(again);
  }
  CHECK(f.source.acquires == 1);
  CHECK(f.allocator.statistics().source_calls == 1);
  CHECK(f.allocator.statistics().allocations == 101);
}

TEST_CASE("allocator: sizes are rounded to 512 bytes, and neighbours are packed") {
  Fixture f;
  void* a = f.allocator.allocate(1, 0);
  void* b = f.allocator.allocate(512, 0);
  void* c = f.allocator.allocate(513, 0);
  void* d = f.allocator.allocate(100, 0);
  CHECK(distance(a, b) == 512);
  CHECK(distance(b, c) == 512);
  CHECK(distance(c, d) == 1024);
  CHECK(f.allocator.statistics().in_use == 512 + 512 + 1024 + 512);
  CHECK(f.source.acquires == 1);
  for (void* block : {a, b, c, d}) f.allocator.free(block);
}

TEST_CASE("allocator: freeing a block takes no memory, so that it cannot fail") {
  Fixture f;
  std::vector<void*> blocks;
  for (int i = 0; i < 100; ++i) blocks.push_back(f.allocator.allocate(4096, 0));
  std::vector<size_t> grown(blocks.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    const size_t before = mallinfo2().uordblks;
    f.allocator.free(blocks[i * 37 % blocks.size()]);  // some have free neighbours by then, most do not
    const size_t after = mallinfo2().uordblks;
    grown[i] = after > before ? after - before : 0;
  }
  CHECK(grown == std::vector<size_t>(blocks.size(), 0));
}

TEST_CASE("allocator: zero bytes get a block of their own") {
  Fixture f;
  void* a = f.allocator.allocate(0, 0);
  void* b = f.allocator.allocate(0, 0);
  CHECK(a != nullptr);
  CHECK(a != b);
  f.allocator.free(a);
  f.allocator.free(b);
}

TEST_CASE("allocator: small and large requests come from different segments") {
  Fixture f;
  void* small = f.allocator.allocate(kMiB, 0);
  CHECK(f.source.held == 2 * kMiB);
  void* large = f.allocator.allocate(kMiB + 1, 0);
  CHECK(f.source.held == 34 * kMiB);
  void* own = f.allocator.allocate(17 * kMiB, 0);  // fits into the rest of the 32 MiB
  CHECK(f.source.acquires == 2);
  void* huge = f.allocator.allocate(101 * kMiB + 1, 0);
  CHECK(f.source.held == 34 * kMiB + 102 * kMiB);
  for (void* block : {small, large, own, huge}) f.allocator.free(block);
  CHECK(f.allocator.statistics().in_use == 0);
}

TEST_CASE("allocator: freed neighbours merge, in any order of freeing") {
  std::vector<int> order{0, 1, 2, 3};
  do {
    Fixture f;
    void* blocks[4];
    for (void*& block : blocks) block = f.allocator.allocate(4 * kMiB, 0);
    for (int i : order) f.allocator.free(blocks[i]);
    CHECK(f.allocator.statistics().largest_free == 32 * kMiB);
    void* whole = f.allocator.allocate(32 * kMiB, 0);
    CHECK(whole == blocks[0]);
    CHECK(f.source.acquires == 1);
    f.allocator.free(whole);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("allocator: blocks of different segments never merge") {
  Fixture f;
  void* a = f.allocator.allocate(16 * kMiB, 0);
  void* b = f.allocator.allocate(16 * kMiB, 0);
  f.allocator.free(a);
  f.allocator.free(b);
  CHECK(f.allocator.statistics().largest_free == 16 * kMiB);
}

TEST_CASE("allocator: the smallest block that fits is taken, then the lowest address") {
  Fixture f;
  void* sizes[5];
  const size_t mib[5] = {60, 20, 40, 20, 80};
  for (int i = 0; i < 5; ++i) sizes[i] = f.allocator.allocate(mib[i] * kMiB, 0);
  for (void* block : sizes) f.allocator.free(block);
  void* a = f.allocator.allocate(18 * kMiB, 0);
  void* b = f.allocator.allocate(20 * kMiB, 0);
  void* c = f.allocator.allocate(20 * kMiB, 0);  // both blocks of 20 MiB are taken
  void* d = f.allocator.allocate(70 * kMiB, 0);
  CHECK(a == sizes[1]);
  CHECK(b == sizes[3]);
  CHECK(c == sizes[2]);
  CHECK(d == sizes[4]);
  CHECK(f.source.acquires == 5);
  for (void* block : {a, b, c, d}) f.allocator.free(block);
}

TEST_CASE("allocator: a large block is split only when more than 1 MiB is left") {
  Fixture f;
  void* whole = f.allocator.allocate(20 * kMiB, 0);
  f.allocator.free(whole);
  void* most = f.allocator.allocate(19 * kMiB, 0);
  CHECK(f.allocator.statistics().in_use == 20 * kMiB);
  f.allocator.free(most);
  most = f.allocator.allocate(19 * kMiB - 512, 0);
  CHECK(f.allocator.statistics().in_use == 19 * kMiB - 512);
  CHECK(f.allocator.statistics().largest_free == kMiB + 512);
  f.allocator.free(most);
}

TEST_CASE("allocator: each stream reuses its own blocks only") {
  Fixture f;
  void* a = f.allocator.allocate(20 * kMiB, 0);
  f.allocator.free(a);
  void* b = f.allocator.allocate(20 * kMiB, 1);
  CHECK(a != b);
  CHECK(f.allocator.allocate(20 * kMiB, 0) == a);
  f.allocator.free(b);
  CHECK(f.allocator.allocate(20 * kMiB, 1) == b);
  CHECK(f.source.acquires == 2);
}

TEST_CASE("allocator: a block used on other streams waits for all their events") {
  Fixture f;
  void* a = f.allocator.allocate(20 * kMiB, 0);
  f.allocator.record_use(a, 1);
  f.allocator.record_use(a, 2);
  f.allocator.record_use(a, 1);  // twice is once
  f.allocator.record_use(a, 0);  // its own stream needs no event
  f.allocator.free(a);
  CHECK(f.source.recorded == std::vector<StreamId>{1, 2});
  CHECK(f.allocator.statistics().in_use == 20 * kMiB);

  void* b = f.allocator.allocate(20 * kMiB, 0);
  CHECK(b != a);
  f.source.pass(2);
  void* c = f.allocator.allocate(20 * kMiB, 0);
  CHECK(c != a);
  f.source.pass(1);
  CHECK(f.allocator.allocate(20 * kMiB, 0) == a);
  CHECK(f.source.waits == 0);

  // The second life starts without users.
  f.allocator.free(a);
  CHECK(f.source.recorded.size() == 2);
  CHECK(f.allocator.allocate(20 * kMiB, 0) == a);
}

TEST_CASE("allocator: a block that waits for an event does not merge") {
  Fixture f;
  void* a = f.allocator.allocate(10 * kMiB, 0);
  void* b = f.allocator.allocate(10 * kMiB, 0);
  void* c = f.allocator.allocate(12 * kMiB, 0);
  f.allocator.record_use(b, 1);
  for (void* block : {b, a, c}) f.allocator.free(block);
  CHECK(f.allocator.statistics().largest_free == 12 * kMiB);
  f.source.pass(1);
  CHECK(f.allocator.allocate(32 * kMiB, 0) == a);
}

TEST_CASE("allocator: when memory is short, it first waits for pending events") {
  Fixture f(40 * kMiB);
  void* a = f.allocator.allocate(30 * kMiB, 0);
  f.allocator.record_use(a, 1);
  f.allocator.free(a);
  CHECK(f.allocator.allocate(30 * kMiB, 0) == a);
  CHECK(f.source.waits == 1);
}

TEST_CASE("allocator: when memory is short, it then returns idle segments of every pool and stream") {
  Fixture f(64 * kMiB);
  void* small = f.allocator.allocate(512, 3);
  void* large = f.allocator.allocate(30 * kMiB, 1);
  void* held = f.allocator.allocate(20 * kMiB, 2);
  f.allocator.free(small);
  f.allocator.free(large);
  void* big = f.allocator.allocate(44 * kMiB, 0);
  CHECK(f.source.segments.size() == 2);
  CHECK(f.allocator.statistics().reserved == 64 * kMiB);
  f.allocator.free(big);
  f.allocator.free(held);
}

TEST_CASE("allocator: when memory is short, it tries a segment of no more than needed") {
  Fixture f(8 * kMiB);  // less than the usual segment of 32 MiB
  void* a = f.allocator.allocate(5 * kMiB, 0);
  CHECK(f.allocator.statistics().reserved == 6 * kMiB);
  f.allocator.free(a);
}

TEST_CASE("allocator: OutOfMemory gives the numbers and advice, and leaves the allocator usable") {
  Fixture f(64 * kMiB);
  void* a = f.allocator.allocate(10 * kMiB, 0);
  void* b = f.allocator.allocate(12 * kMiB, 0);
  f.allocator.free(a);
  CHECK_THROWS_AS(f.allocator.allocate(60 * kMiB, 0), OutOfMemory);
  const std::string text = error_of([&f] { f.allocator.allocate(60 * kMiB, 0); });
  for (const char* part :
       {"fake:0: out of memory", "asked for 60.0 MiB (62914560 bytes)", "12.0 MiB in use", "20.0 MiB cached",
        "10.0 MiB as its largest free block", "64.0 MiB in all", "smaller batch", "recomputation"}) {
    CAPTURE(text);
    CHECK(contains(text, part));
  }
  CHECK(f.allocator.allocate(10 * kMiB, 0) == a);
  f.allocator.free(b);
}

TEST_CASE("allocator: sizes that would overflow are out of memory") {
  Fixture f;
  for (size_t bytes : {std::numeric_limits<size_t>::max(), std::numeric_limits<size_t>::max() - 600,
                       std::numeric_limits<size_t>::max() / 2, size_t{1} << 62})
    CHECK_THROWS_AS(f.allocator.allocate(bytes, 0), OutOfMemory);
  CHECK(f.allocator.statistics().in_use == 0);
}

TEST_CASE("allocator: freeing a block twice, or a foreign block, is an error") {
  Fixture f;
  void* a = f.allocator.allocate(1000, 0);
  void* b = f.allocator.allocate(1000, 0);
  void* c = f.allocator.allocate(1000, 0);
  f.allocator.free(b);  // stays a block of its own, between a and c
  CHECK(contains(error_of([&] { f.allocator.free(b); }), "freed before"));
  CHECK(contains(error_of([&] { f.allocator.record_use(b, 1); }), "record_use"));
  f.allocator.free(c);  // merged into b
  CHECK(contains(error_of([&] { f.allocator.free(c); }), "not one of its blocks (or was freed before)"));
  int foreign = 0;
  CHECK(contains(error_of([&] { f.allocator.free(&foreign); }), "not one of its blocks"));
  CHECK_THROWS_AS(f.allocator.free(nullptr), Error);
  CHECK_THROWS_AS(f.allocator.free(static_cast<char*>(a) + 8), Error);
  f.allocator.record_use(a, 1);
  f.allocator.free(a);
  CHECK_THROWS_AS(f.allocator.free(a), Error);  // while it waits for its event
}

TEST_CASE("allocator: statistics follow use, peak and what is reserved") {
  Fixture f;
  void* a = f.allocator.allocate(20 * kMiB, 0);
  void* b = f.allocator.allocate(30 * kMiB, 0);
  f.allocator.free(a);
  MemoryStatistics s = f.allocator.statistics();
  CHECK(s.in_use == 30 * kMiB);
  CHECK(s.peak_in_use == 50 * kMiB);
  CHECK(s.reserved == 50 * kMiB);
  CHECK(s.largest_free == 20 * kMiB);
  CHECK(s.source_calls == 2);
  f.allocator.reset_peak();
  CHECK(f.allocator.statistics().peak_in_use == 30 * kMiB);
  f.allocator.free(b);
  f.allocator.release_cached();
  s = f.allocator.statistics();
  CHECK(s.reserved == 0);
  CHECK(s.largest_free == 0);
  CHECK(f.source.segments.empty());
}

TEST_CASE("allocator: poison fills blocks when they are handed out and when they are free") {
  Fixture f(kMiB * 100, AllocatorMode::poison);
  void* a = f.allocator.allocate(1000, 0);
  f.allocator.record_use(a, 1);
  f.allocator.free(a);
  using Fills = std::vector<std::pair<void*, size_t>>;
  CHECK(f.source.poisoned == Fills{{a, 1024}});  // another stream may still read it
  f.source.pass(1);
  f.allocator.free(f.allocator.allocate(1000, 0));
  CHECK(f.source.poisoned == Fills{{a, 1024}, {a, 1024}, {a, 1024}, {a, 1024}});
}

TEST_CASE("allocator: direct asks the source for each block, of exactly its size") {
  Fixture f(kMiB * 100, AllocatorMode::direct);
  void* a = f.allocator.allocate(1001, 0);
  CHECK(f.source.held == 1001);
  f.allocator.free(a);
  CHECK(f.source.held == 0);
  void* b = f.allocator.allocate(70 * kMiB, 0);
  CHECK_THROWS_AS(f.allocator.allocate(70 * kMiB, 0), OutOfMemory);
  f.allocator.record_use(b, 1);
  f.allocator.free(b);
  CHECK(f.source.held == 70 * kMiB);  // until the event has passed
  f.source.pass(1);
  f.allocator.free(f.allocator.allocate(0, 0));
  CHECK(f.source.held == 0);
  CHECK(f.source.acquires == 5);  // the refused one was tried twice
}

TEST_CASE("allocator: the mode comes from TANDEM_ALLOCATOR") {
  const char* before = std::getenv("TANDEM_ALLOCATOR");
  const std::string saved = before ? before : "";
  setenv("TANDEM_ALLOCATOR", "poison", 1);
  CHECK(allocator_mode_from_environment() == AllocatorMode::poison);
  setenv("TANDEM_ALLOCATOR", "direct", 1);
  CHECK(allocator_mode_from_environment() == AllocatorMode::direct);
  setenv("TANDEM_ALLOCATOR", "cached", 1);
  CHECK(allocator_mode_from_environment() == AllocatorMode::cached);
  setenv("TANDEM_ALLOCATOR", "fast", 1);
  CHECK(contains(error_of([] { allocator_mode_from_environment(); }), "TANDEM_ALLOCATOR=fast"));
  unsetenv("TANDEM_ALLOCATOR");
#ifdef TANDEM_SANITIZE
  CHECK(allocator_mode_from_environment() == AllocatorMode::direct);
#else
  CHECK(allocator_mode_from_environment() == AllocatorMode::cached);
#endif
  if (before) setenv("TANDEM_ALLOCATOR", saved.c_str(), 1);
}

TEST_CASE("allocator: kept memory of a stream is not given back, and goes to the compute stream in the end") {
  Fixture f;
  constexpr StreamId pool = kFirstGraphPool;
  f.allocator.keep_stream_memory(pool, true);
  void* const left = f.allocator.allocate(20 * kMiB, pool);
  f.allocator.free(f.allocator.allocate(40 * kMiB, pool));
  const size_t held = f.source.held;
  f.allocator.release_cached();
  CHECK(f.source.held == held);
  const int acquires = f.source.acquires;
  void* const other = f.allocator.allocate(40 * kMiB, kComputeStream);
  CHECK(f.source.acquires == acquires + 1);  // not from the pool
  f.allocator.keep_stream_memory(pool, false);
  f.allocator.free(left);
  void* const taken = f.allocator.allocate(40 * kMiB, kComputeStream);
  void* const again = f.allocator.allocate(20 * kMiB, kComputeStream);
  CHECK(f.source.acquires == acquires + 1);  // both from the pool's memory
  CHECK(again == left);
  for (void* block : {other, taken, again}) f.allocator.free(block);
  f.allocator.release_cached();
  CHECK(f.source.held == 0);
}

}  // namespace tandem::testing
