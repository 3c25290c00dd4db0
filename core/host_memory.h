// The host's memory: the allocator of CPU tensors, and the source of its segments.
#pragma once
#include <string>

#include "tandem/core/caching_allocator.h"

namespace tandem {

// Returns the allocator of Device::cpu(), in the mode that TANDEM_ALLOCATOR asks for; for statistics and to release
// cached memory. It lives until the process ends. Error, at first use: an unknown TANDEM_ALLOCATOR.
CachingAllocator& host_allocator();

// Returns the bytes of memory that this process may use: all of the machine's, or less if its control group or one that
// holds it sets a limit (version 1 or 2 of cgroups, as Slurm, systemd and containers do). `root` is the folder of proc/
// and sys/, for tests.
size_t host_memory_limit(const std::string& root = "/");

// Segments from the operating system, in huge pages where it grants them. The host has one stream, whose work is
// finished when the function that does it returns, so events have always passed.
class HostMemory final : public MemorySource {
 public:
  // With `visible_to_sanitizers` every segment is a malloc block, so that AddressSanitizer guards its ends.
  explicit HostMemory(bool visible_to_sanitizers, size_t limit = host_memory_limit());

  std::string name() const override { return "cpu"; }
  size_t total_bytes() const override { return limit_; }
  // Returns null beyond the limit; otherwise the system might overcommit and kill the process later.
  void* acquire(size_t bytes) override;
  void release(void* segment, size_t bytes) override;
  Event record(StreamId) override { return nullptr; }
  bool done(Event) override { return true; }
  void wait(Event) override {}
  void discard(Event) override {}
  void poison(void* block, size_t bytes, StreamId stream) override;

 private:
  bool mapped(size_t bytes) const;

  const bool visible_to_sanitizers_;
  const size_t limit_;
  size_t acquired_ = 0;
};

}  // namespace tandem
