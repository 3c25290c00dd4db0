// The host's memory: where the host allocator's segments come from, and that allocator itself.
#pragma once
#include "core/caching_allocator.h"

namespace tandem {

// The allocator behind Device::cpu(), in the mode that TANDEM_ALLOCATOR asks for; for statistics and for
// giving cached memory back. Lives until the process ends. Error, at first use: a bad TANDEM_ALLOCATOR.
CachingAllocator& host_allocator();

// Bytes of memory that this process may use: the machine's, or less where a control group limits it.
size_t host_memory_limit();

// Segments from the system, in huge pages where it grants them. A host has one stream, whose work is done
// when the call that did it returns, so its events are always past.
class HostMemory final : public MemorySource {
 public:
  // With `visible_to_sanitizers` every segment is a malloc block, whose ends AddressSanitizer guards.
  explicit HostMemory(bool visible_to_sanitizers, size_t limit = host_memory_limit());

  std::string name() const override { return "cpu"; }
  size_t total_bytes() const override { return limit_; }
  // Null beyond the limit, rather than letting the system overcommit and kill the process later.
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
