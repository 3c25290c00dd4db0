// The caching allocator under many random requests: blocks never overlap, all memory comes back, a repeated load stops
// asking the source.
#include <doctest/doctest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "tandem/core/caching_allocator.h"
#include "tests/support/fake_memory.h"

namespace tandem::testing {

// Sends random requests to a small memory and checks addresses alone: blocks must be aligned, lie inside a segment, and
// overlap neither live blocks nor blocks that an event still protects.
TEST_CASE("allocator: under random requests blocks never overlap, and all memory comes back") {
  for (unsigned seed = 0; seed < 4; ++seed) {
    Fixture f(200 * kMiB);
    std::mt19937 random(seed);
    struct Live {
      size_t bytes;
      size_t last_event;  // 0 while in use
    };
    std::map<uintptr_t, Live> taken;
    std::vector<void*> live;
    size_t refused = 0, live_bytes = 0;
    for (int step = 0; step < 6000; ++step) {
      if (random() % 100 < 52 || live.empty()) {
        const size_t bytes = random() % 3 == 0 ? random() % (12 * kMiB) : random() % 5000;
        const auto stream = static_cast<StreamId>(random() % 3);
        void* block = nullptr;
        const int waits = f.source.waits;
        try {
          block = f.allocator.allocate(bytes, stream);
        } catch (const OutOfMemory&) {
          ++refused;
        }
        if (f.source.waits > waits)
          for (size_t event = 1; event <= f.source.recorded.size(); ++event) f.source.pass(event);
        std::erase_if(taken, [&f](const auto& item) {
          return item.second.last_event != 0 &&
                 f.source.passed.contains(reinterpret_cast<MemorySource::Event>(item.second.last_event));
        });
        if (block == nullptr) continue;
        const auto address = reinterpret_cast<uintptr_t>(block);
        REQUIRE(address % 512 == 0);
        const auto segment = std::prev(f.source.segments.upper_bound(address));
        REQUIRE(address + bytes <= segment->first + segment->second);
        const auto after = taken.lower_bound(address);
        if (after != taken.end()) REQUIRE(address + std::max<size_t>(bytes, 1) <= after->first);
        if (after != taken.begin()) {
          const auto& [begin, previous] = *std::prev(after);
          REQUIRE(begin + previous.bytes <= address);
        }
        taken[address] = {std::max<size_t>(bytes, 1), 0};
        live.push_back(block);
        live_bytes += bytes;
        REQUIRE(f.allocator.statistics().in_use >= live_bytes);
      } else {
        std::swap(live[random() % live.size()], live.back());
        void* block = live.back();
        live.pop_back();
        const size_t events = f.source.recorded.size();
        if (random() % 4 == 0) f.allocator.record_use(block, static_cast<StreamId>(random() % 3));
        f.allocator.free(block);
        Live& entry = taken[reinterpret_cast<uintptr_t>(block)];
        live_bytes -= entry.bytes == 1 ? 0 : entry.bytes;
        entry.last_event = f.source.recorded.size();
        if (entry.last_event == events) taken.erase(reinterpret_cast<uintptr_t>(block));
      }
      if (random() % 5 == 0 && !f.source.recorded.empty())
        f.source.pass(1 + random() % f.source.recorded.size());
      REQUIRE(f.source.held == f.allocator.statistics().reserved);
    }
    CHECK(refused > 0);  // memory did run short
    CHECK(f.source.waits > 0);
    for (void* block : live) f.allocator.free(block);
    f.allocator.release_cached();
    CHECK(f.allocator.statistics().in_use == 0);
    CHECK(f.source.held == 0);
  }
}

TEST_CASE("allocator: the same requests step after step stop asking the source") {
  Fixture f;
  std::mt19937 random(1);
  std::vector<std::pair<size_t, int>> step;  // size, and when to free
  for (int i = 0; i < 300; ++i)
    step.emplace_back(random() % 5 == 0 ? random() % (40 * kMiB) : random() % 100000, random() % 50);
  int calls = 0;
  for (int repeat = 0; repeat < 20; ++repeat) {
    if (repeat == 3) calls = f.source.acquires;
    std::multimap<int, void*> frees;
    for (int i = 0; i < 300; ++i) {
      frees.emplace(i + step[i].second, f.allocator.allocate(step[i].first, 0));
      for (; !frees.empty() && frees.begin()->first <= i; frees.erase(frees.begin()))
        f.allocator.free(frees.begin()->second);
    }
    for (const auto& [when, block] : frees) f.allocator.free(block);
  }
  CHECK(f.source.acquires == calls);
}

}  // namespace tandem::testing
