// CachingAllocator: keeps the memory that it has obtained and hands it out again, for the host and for CUDA devices.
//
// The policy. Training asks for the same sizes step after step, and asking the system is slow: a page fault
// per 4 KiB on a host, a device-wide wait in cudaMalloc. So memory is obtained in segments and kept.
//
// - A request is rounded up to 512 bytes and served from one of two pools: small (up to 1 MiB, cut from segments
//   of 2 MiB) and large (cut from segments of 32 MiB, or from a segment of its own from 16 MiB on). There are two
//   pools so that a long-lived scalar never pins a large segment.
// - Each pool has a free list per stream, ordered by size and then by address. The smallest block that fits is
//   taken (best fit). The rest goes back as a block of its own (split), in the large pool only when it exceeds
//   1 MiB. A freed block joins its free neighbours of the same segment (merge), so an idle segment is one block.
// - A block belongs to the stream it was allocated for. Once freed, it may be reused on that stream at once, although
//   the device may not have reached the free yet: later work on the stream runs after earlier work.
// - A block that another stream has used must be announced by record_use(). free() then records an event on
//   each such stream, and the block stays out of the free lists until all of these events have passed.
// - When the source has no more memory, the allocator waits for the pending events and looks again; then it
//   returns every idle segment and asks again, for no more than is needed; then it throws OutOfMemory, with the
//   numbers and with advice.
//
// No size needs tuning. The calls to the device are injected (MemorySource), so all of this is tested without a
// device. All functions may be called from any thread.
#pragma once
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/core/storage.h"

namespace tandem {

// Where segments come from. The allocator serialises its calls.
class MemorySource {
 public:
  using Event = void*;

  virtual ~MemorySource() = default;
  virtual std::string name() const = 0;    // for messages: "cpu", "cuda:0"
  virtual size_t total_bytes() const = 0;  // the most that it can hand out, for messages
  // Returns a segment aligned to 512 bytes; null if there is not enough memory.
  virtual void* acquire(size_t bytes) = 0;
  virtual void release(void* segment, size_t bytes) = 0;
  // Events mark a point in a stream's work. Every recorded event is discarded exactly once.
  virtual Event record(StreamId stream) = 0;
  virtual bool done(Event event) = 0;
  virtual void wait(Event event) = 0;
  virtual void discard(Event event) = 0;
  // Sets every byte to 0xff, in order with the stream's work: NaN as f32, f64 and bf16, -1 as an integer.
  virtual void poison(void* block, size_t bytes, StreamId stream) = 0;
};

struct MemoryStatistics {
  size_t in_use = 0;       // bytes of blocks handed out, or freed and waiting for an event
  size_t peak_in_use = 0;  // since construction or reset_peak()
  size_t reserved = 0;     // bytes of segments held; reserved - in_use is cached
  size_t largest_free = 0;
  int64_t source_calls = 0;  // calls of acquire(), successful or not
  int64_t allocations = 0;
};

enum class AllocatorMode {
  cached,  // the policy above
  poison,  // the same, with each block filled with NaN when handed out and when freed: shows reads of stale memory
  direct,  // no caching: each block is a segment of exactly its size, for AddressSanitizer and compute-sanitizer
};

// Returns the mode that the environment variable TANDEM_ALLOCATOR (cached, poison, direct) asks for. If it is not set:
// cached, or direct in a build with sanitizers. Error: another value.
AllocatorMode allocator_mode_from_environment();

class CachingAllocator final : public Allocator {
 public:
  // `source` must outlive the allocator.
  explicit CachingAllocator(MemorySource& source, AllocatorMode mode = AllocatorMode::cached);
  ~CachingAllocator() override;  // returns every segment to the source
  CachingAllocator(const CachingAllocator&) = delete;
  CachingAllocator& operator=(const CachingAllocator&) = delete;

  void* allocate(size_t bytes, StreamId stream) override;
  // Error: `block` was freed before, or did not come from this allocator.
  void free(void* block) override;
  // Announces that work on `stream` uses `block` too. Error: as free().
  void record_use(void* block, StreamId stream);
  // Waits for pending events, then gives back every segment of which no byte is in use.
  void release_cached();
  // kept = true: the segments of `stream` are never given back, because a CUDA graph goes on using memory that was
  // free when it was captured. kept = false: its memory becomes the compute stream's, on which the graph's work ran.
  void keep_stream_memory(StreamId stream, bool kept);

  MemoryStatistics statistics() const;
  void reset_peak();

 private:
  struct Block;
  struct BySize {  // the order of a free list: best fit first, then the lowest address
    using is_transparent = void;
    bool operator()(const Block* a, const Block* b) const;
    bool operator()(const Block* a, size_t bytes) const;
  };
  using FreeList = std::set<Block*, BySize>;
  enum class Pool : uint8_t { small, large };
  enum class State : uint8_t { in_use, pending, free };

  // The functions below expect mutex_ to be held.
  Block& find_used(void* data, const char* what) const;
  Block* take_free(size_t bytes, Pool pool, StreamId stream);
  Block* new_segment(size_t bytes, Pool pool, StreamId stream);
  static FreeList::node_type node_for(Block* block);
  void split(Block& block, size_t bytes);
  void make_free(Block& block);
  Block& merge(Block& left, Block& right);
  void process_events(bool wait);
  void release_segment(Block& block);
  void release_idle_segments();
  size_t largest_free() const;
  [[noreturn]] void throw_out_of_memory(size_t bytes) const;

  MemorySource& source_;
  const AllocatorMode mode_;
  mutable std::mutex mutex_;
  std::unordered_map<void*, std::unique_ptr<Block>> blocks_;  // all blocks, by address
  std::map<std::pair<StreamId, Pool>, FreeList> free_;
  std::map<StreamId, std::deque<std::pair<MemorySource::Event, Block*>>> pending_;  // oldest event first
  std::set<StreamId> kept_;  // streams whose segments are never given back
  MemoryStatistics statistics_;
};

}  // namespace tandem
