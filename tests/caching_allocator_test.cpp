// The caching allocator's policy over a simulated memory source: reuse, split, merge, streams, events, out of
// memory.
#include "core/caching_allocator.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/host_memory.h"

using namespace tandem;

namespace {

constexpr size_t kMiB = size_t{1} << 20;

// A device of `total` bytes. Addresses are not backed by memory: the allocator must never touch them.
class FakeSource final : public MemorySource {
 public:
  explicit FakeSource(size_t total) : total_(total) {}
  ~FakeSource() override {
    CHECK(segments.empty());  // every segment came back
    CHECK(open_events == 0);  // every event was discarded
  }

  std::string name() const override { return "fake:0"; }
  size_t total_bytes() const override { return total_; }
  void* acquire(size_t bytes) override {
    ++acquires;
    if (bytes > total_ - held) return nullptr;
    held += bytes;
    const uintptr_t address = next_;
    next_ += (bytes + 511) / 512 * 512 + 4096;  // segments never touch each other
    segments[address] = bytes;
    return reinterpret_cast<void*>(address);
  }
  void release(void* segment, size_t bytes) override {
    const auto found = segments.find(reinterpret_cast<uintptr_t>(segment));
    REQUIRE(found != segments.end());
    CHECK(found->second == bytes);
    segments.erase(found);
    held -= bytes;
  }
  Event record(StreamId stream) override {
    ++open_events;
    recorded.push_back(stream);
    return reinterpret_cast<Event>(recorded.size());
  }
  bool done(Event event) override { return passed.contains(event); }
  void wait(Event event) override {
    ++waits;
    passed.insert(event);
  }
  void discard(Event event) override {
    CHECK(passed.contains(event));
    --open_events;
  }
  void poison(void* block, size_t bytes, StreamId) override { poisoned.emplace_back(block, bytes); }

  void pass(size_t event) { passed.insert(reinterpret_cast<Event>(event)); }  // counted from 1

  std::map<uintptr_t, size_t> segments;
  std::vector<StreamId> recorded;
  std::set<Event> passed;
  std::vector<std::pair<void*, size_t>> poisoned;
  size_t held = 0;
  int open_events = 0, acquires = 0, waits = 0;

 private:
  size_t total_;
  uintptr_t next_ = uintptr_t{1} << 32;
};

struct Fixture {
  explicit Fixture(size_t total = size_t{1} << 40, AllocatorMode mode = AllocatorMode::cached)
      : source(total), allocator(source, mode) {}
  FakeSource source;
  CachingAllocator allocator;
};

ptrdiff_t distance(void* from, void* to) {
  return static_cast<char*>(to) - static_cast<char*>(from);
}

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
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
  void* own = f.allocator.allocate(17 * kMiB, 0);  // does fit into the rest of the 32 MiB
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
  void* c = f.allocator.allocate(20 * kMiB, 0);  // both of 20 are gone
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

TEST_CASE("allocator: out of memory, first pending events are waited for") {
  Fixture f(40 * kMiB);
  void* a = f.allocator.allocate(30 * kMiB, 0);
  f.allocator.record_use(a, 1);
  f.allocator.free(a);
  CHECK(f.allocator.allocate(30 * kMiB, 0) == a);
  CHECK(f.source.waits == 1);
}

TEST_CASE("allocator: out of memory, then idle segments go back, whatever their pool or stream") {
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

TEST_CASE("allocator: out of memory, a segment of no more than needed is tried") {
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
  const std::string text = message_of([&f] { f.allocator.allocate(60 * kMiB, 0); });
  for (const char* part :
       {"fake:0: out of memory", "asked for 60.0 MiB (62914560 bytes)", "12.0 MiB in use", "20.0 MiB cached",
        "10.0 MiB as its largest free block", "64.0 MiB in all", "smaller batch", "--recompute"}) {
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

TEST_CASE("allocator: freeing twice, and freeing what is foreign, are errors") {
  Fixture f;
  void* a = f.allocator.allocate(1000, 0);
  void* b = f.allocator.allocate(1000, 0);
  void* c = f.allocator.allocate(1000, 0);
  f.allocator.free(b);  // stays a block of its own, between a and c
  CHECK(contains(message_of([&] { f.allocator.free(b); }), "freed before"));
  CHECK(contains(message_of([&] { f.allocator.record_use(b, 1); }), "record_use"));
  f.allocator.free(c);  // merged into b
  CHECK(contains(message_of([&] { f.allocator.free(c); }), "not one of its blocks (or was freed before)"));
  int foreign = 0;
  CHECK(contains(message_of([&] { f.allocator.free(&foreign); }), "not one of its blocks"));
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
  CHECK(contains(message_of([] { allocator_mode_from_environment(); }), "TANDEM_ALLOCATOR=fast"));
  unsetenv("TANDEM_ALLOCATOR");
#ifdef TANDEM_SANITIZE
  CHECK(allocator_mode_from_environment() == AllocatorMode::direct);
#else
  CHECK(allocator_mode_from_environment() == AllocatorMode::cached);
#endif
  if (before) setenv("TANDEM_ALLOCATOR", saved.c_str(), 1);
}

// Random traffic in a small memory, against a checker that knows only addresses: blocks must be aligned,
// inside a segment, and overlap neither live blocks nor blocks that an event still protects.
TEST_CASE("allocator: random traffic keeps blocks apart, and all memory comes back") {
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
    CHECK(refused > 0);  // the ladder was climbed
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

TEST_CASE("host memory: writable, aligned, limited, and usable by threads at once") {
  HostMemory source(/*visible_to_sanitizers=*/false, 600 * kMiB);
  CachingAllocator allocator(source);
  std::vector<std::thread> threads;
  std::vector<int> damaged(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &allocator, &damaged] {
      std::mt19937 random(t);
      std::vector<std::pair<unsigned char*, size_t>> blocks;
      for (int step = 0; step < 2000; ++step) {
        if (blocks.size() < 20) {
          const size_t bytes = random() % 10 == 0 ? 2 * kMiB + random() % kMiB : 1 + random() % 3000;
          auto* block = static_cast<unsigned char*>(allocator.allocate(bytes, 0));
          damaged[t] += reinterpret_cast<uintptr_t>(block) % 512 != 0;
          block[0] = block[bytes - 1] = static_cast<unsigned char>(t);
          blocks.emplace_back(block, bytes);
        } else {
          std::swap(blocks[random() % blocks.size()], blocks.back());
          const auto [block, bytes] = blocks.back();
          damaged[t] += block[0] != t || block[bytes - 1] != t;
          allocator.free(block);
          blocks.pop_back();
        }
      }
      for (const auto& [block, bytes] : blocks) allocator.free(block);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(damaged == std::vector<int>{0, 0, 0, 0});
  CHECK(allocator.statistics().in_use == 0);
  CHECK(allocator.statistics().allocations > 4000);
  CHECK_THROWS_AS(allocator.allocate(601 * kMiB, 0), OutOfMemory);
}

TEST_CASE("host memory: what is left of an odd mapping is given back, and poison is NaN") {
  HostMemory source(/*visible_to_sanitizers=*/false, 64 * kMiB);
  for (size_t bytes : {2 * kMiB, 6 * kMiB, size_t{777}}) {
    auto* data = static_cast<char*>(source.acquire(bytes));
    REQUIRE(data != nullptr);
    CHECK(reinterpret_cast<uintptr_t>(data) % (bytes % (2 * kMiB) == 0 ? 2 * kMiB : 512) == 0);
    std::memset(data, 1, bytes);
    source.poison(data, bytes, 0);
    float value = 0;
    std::memcpy(&value, data + 8, sizeof value);
    CHECK(value != value);
    source.release(data, bytes);
  }
  CHECK(source.acquire(65 * kMiB) == nullptr);
  CHECK(host_memory_limit() > 100 * kMiB);
}

TEST_CASE("allocators by device: the host's is one and the same, a missing device is an error") {
  CHECK(&allocator_of(Device::cpu()) == &host_allocator());
  CHECK(contains(message_of([] { allocator_of(Device::cuda(63)); }), "cuda:63"));
  CHECK_THROWS_AS(allocator_of(Device::cuda(1000)), Error);
  CHECK_THROWS_AS(set_cuda_allocator(-1, nullptr), Error);
  FakeSource source(kMiB * 8);
  CachingAllocator allocator(source);
  set_cuda_allocator(62, &allocator);
  CHECK(&allocator_of(Device::cuda(62)) == &allocator);
  set_cuda_allocator(62, nullptr);
}
