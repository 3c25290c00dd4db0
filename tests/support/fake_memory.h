// A caching allocator over a simulated device, whose memory and events a test can watch.
#pragma once
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tandem/core/caching_allocator.h"

namespace tandem::testing {

inline constexpr size_t kMiB = size_t{1} << 20;

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

}  // namespace tandem::testing
