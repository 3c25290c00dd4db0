// The caching allocator's policy, which its header describes.
#include "tandem/core/caching_allocator.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string_view>

#include "tandem/core/check.h"
#include "tandem/core/format.h"
#include "tandem/core/math.h"

namespace tandem {
namespace {

constexpr size_t kKiB = 1024, kMiB = 1024 * kKiB;
constexpr size_t kAlignment = 512;
// Largest block of the small pool; the rest of a split in the large pool must be larger.
constexpr size_t kSmallLimit = 1 * kMiB;
constexpr size_t kSmallSegment = 2 * kMiB;
constexpr size_t kLargeSegment = 32 * kMiB;
constexpr size_t kOwnSegment = 16 * kMiB;  // requests of at least this size get a segment of their own
constexpr size_t kSegmentUnit = 2 * kMiB;  // a huge page, and the granularity of CUDA's mappings
constexpr size_t kLargestRequest = size_t{1} << 62;

}  // namespace

struct CachingAllocator::Block {
  char* data;
  size_t bytes;
  StreamId stream;
  Pool pool;
  State state = State::in_use;
  Block* left = nullptr;  // neighbours in the same segment
  Block* right = nullptr;
  int events = 0;              // number of events that have not passed yet
  FreeList::node_type node{};  // its place in a free list while it is in none, so that free() needs no memory
  std::vector<StreamId> users{};  // other streams that use the block
};

bool CachingAllocator::BySize::operator()(const Block* a, const Block* b) const {
  return a->bytes != b->bytes ? a->bytes < b->bytes : std::less<>()(a->data, b->data);
}

bool CachingAllocator::BySize::operator()(const Block* a, size_t bytes) const {
  return a->bytes < bytes;
}

AllocatorMode allocator_mode_from_environment() {
#ifdef TANDEM_SANITIZE
  constexpr AllocatorMode fallback = AllocatorMode::direct;
#else
  constexpr AllocatorMode fallback = AllocatorMode::cached;
#endif
  const char* value = std::getenv("TANDEM_ALLOCATOR");
  const std::string_view mode = value ? value : "";
  if (mode.empty()) return fallback;
  if (mode == "cached") return AllocatorMode::cached;
  if (mode == "poison") return AllocatorMode::poison;
  TANDEM_CHECK(mode == "direct", "TANDEM_ALLOCATOR={}: unknown mode; use cached, poison or direct", mode);
  return AllocatorMode::direct;
}

CachingAllocator::CachingAllocator(MemorySource& source, AllocatorMode mode) : source_(source), mode_(mode) {}

CachingAllocator::~CachingAllocator() {
  process_events(/*wait=*/true);
  for (auto& [data, block] : blocks_) {
    if (block->left != nullptr) continue;
    size_t bytes = 0;
    for (const Block* part = block.get(); part != nullptr; part = part->right) bytes += part->bytes;
    source_.release(data, bytes);
  }
}

void* CachingAllocator::allocate(size_t bytes, StreamId stream) {
  const std::lock_guard lock(mutex_);
  if (bytes > kLargestRequest) throw_out_of_memory(bytes);
  bytes = std::max<size_t>(bytes, 1);  // so that even an empty tensor has a unique address
  if (mode_ != AllocatorMode::direct) bytes = round_up(bytes, kAlignment);
  const Pool pool = bytes <= kSmallLimit ? Pool::small : Pool::large;

  process_events(/*wait=*/false);
  Block* block = take_free(bytes, pool, stream);
  if (block == nullptr) {
    const size_t wanted = pool == Pool::small   ? kSmallSegment
                          : bytes < kOwnSegment ? kLargeSegment
                                                : round_up(bytes, kSegmentUnit);
    const bool direct = mode_ == AllocatorMode::direct;
    block = new_segment(direct ? bytes : wanted, pool, stream);
    if (block == nullptr) {
      process_events(/*wait=*/true);
      block = take_free(bytes, pool, stream);
    }
    if (block == nullptr) {
      release_idle_segments();
      block = new_segment(direct ? bytes : round_up(bytes, kSegmentUnit), pool, stream);
    }
    if (block == nullptr) throw_out_of_memory(bytes);
  }
  try {
    split(*block, bytes);
  } catch (const std::bad_alloc&) {
    block->state = State::free;
    free_[{stream, pool}].insert(std::move(block->node));
    throw;
  }
  block->state = State::in_use;
  if (mode_ == AllocatorMode::poison) source_.poison(block->data, block->bytes, stream);

  ++statistics_.allocations;
  statistics_.in_use += block->bytes;
  statistics_.peak_in_use = std::max(statistics_.peak_in_use, statistics_.in_use);
  return block->data;
}

void CachingAllocator::free(void* data) {
  const std::lock_guard lock(mutex_);
  Block& block = find_used(data, "free");
  if (block.users.empty()) return make_free(block);
  block.state = State::pending;
  for (StreamId stream : block.users) {
    pending_[stream].emplace_back(source_.record(stream), &block);
    ++block.events;
  }
  block.users.clear();
}

void CachingAllocator::record_use(void* data, StreamId stream) {
  const std::lock_guard lock(mutex_);
  Block& block = find_used(data, "record_use");
  if (stream == block.stream ||
      std::find(block.users.begin(), block.users.end(), stream) != block.users.end())
    return;
  block.users.push_back(stream);
}

void CachingAllocator::release_cached() {
  const std::lock_guard lock(mutex_);
  process_events(/*wait=*/true);
  release_idle_segments();
}

void CachingAllocator::keep_stream_memory(StreamId stream, bool kept) {
  const std::lock_guard lock(mutex_);
  if (kept) {
    kept_.insert(stream);
    return;
  }
  if (kept_.erase(stream) == 0) return;
  for (auto& [data, block] : blocks_)
    if (block->stream == stream) block->stream = kComputeStream;
  for (const Pool pool : {Pool::small, Pool::large}) {
    const auto list = free_.find({stream, pool});
    if (list == free_.end()) continue;
    free_[{kComputeStream, pool}].merge(list->second);
    free_.erase(list);
  }
}

MemoryStatistics CachingAllocator::statistics() const {
  const std::lock_guard lock(mutex_);
  MemoryStatistics statistics = statistics_;
  statistics.largest_free = largest_free();
  return statistics;
}

void CachingAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  statistics_.peak_in_use = statistics_.in_use;
}

CachingAllocator::Block& CachingAllocator::find_used(void* data, const char* what) const {
  const auto found = blocks_.find(data);
  TANDEM_CHECK(found != blocks_.end(),
               "{} allocator: {} of {}, which is not one of its blocks (or was freed before)", source_.name(),
               what, data);
  Block& block = *found->second;
  TANDEM_CHECK(block.state == State::in_use, "{} allocator: {} of {}, which was freed before", source_.name(),
               what, data);
  return block;
}

CachingAllocator::Block* CachingAllocator::take_free(size_t bytes, Pool pool, StreamId stream) {
  const auto list = free_.find({stream, pool});
  if (list == free_.end()) return nullptr;
  const auto best = list->second.lower_bound(bytes);
  if (best == list->second.end()) return nullptr;
  Block* block = *best;
  block->node = list->second.extract(best);
  return block;
}

CachingAllocator::Block* CachingAllocator::new_segment(size_t bytes, Pool pool, StreamId stream) {
  ++statistics_.source_calls;
  free_[{stream, pool}];  // exists from here on, so that free() needs no memory
  void* data = source_.acquire(bytes);
  if (data == nullptr) return nullptr;
  try {
    auto block = std::make_unique<Block>(Block{static_cast<char*>(data), bytes, stream, pool});
    block->node = node_for(block.get());
    Block* const made = (blocks_[data] = std::move(block)).get();
    statistics_.reserved += bytes;
    return made;
  } catch (const std::bad_alloc&) {
    source_.release(data, bytes);
    throw;
  }
}

// Returns a place for the block in a free list.
CachingAllocator::FreeList::node_type CachingAllocator::node_for(Block* block) {
  FreeList list;
  return list.extract(list.insert(block).first);
}

// Cuts `block` down to `bytes` if the rest is large enough to be kept as a separate free block.
void CachingAllocator::split(Block& block, size_t bytes) {
  const size_t rest = block.bytes - bytes;
  if (rest < kAlignment || (block.pool == Pool::large && rest <= kSmallLimit)) return;
  auto right =
      std::make_unique<Block>(Block{block.data + bytes, rest, block.stream, block.pool, State::free});
  right->left = &block;
  right->right = block.right;
  FreeList::node_type node = node_for(right.get());
  Block* const made = (blocks_[right->data] = std::move(right)).get();
  if (block.right != nullptr) block.right->left = made;
  block.right = made;
  block.bytes = bytes;
  free_[{block.stream, block.pool}].insert(std::move(node));
}

// Returns a block to its free list. No other stream may still use it.
void CachingAllocator::make_free(Block& block) {
  statistics_.in_use -= block.bytes;
  if (mode_ == AllocatorMode::direct) return release_segment(block);
  if (mode_ == AllocatorMode::poison) source_.poison(block.data, block.bytes, block.stream);
  block.state = State::free;
  FreeList& list = free_[{block.stream, block.pool}];
  Block* whole = &block;
  FreeList::node_type node = std::move(block.node);
  if (Block* right = block.right; right != nullptr && right->state == State::free) {
    list.erase(right);
    whole = &merge(*whole, *right);
  }
  if (Block* left = block.left; left != nullptr && left->state == State::free) {
    list.erase(left);
    whole = &merge(*left, *whole);
  }
  node.value() = whole;
  list.insert(std::move(node));
}

CachingAllocator::Block& CachingAllocator::merge(Block& left, Block& right) {
  left.bytes += right.bytes;
  left.right = right.right;
  if (right.right != nullptr) right.right->left = &left;
  blocks_.erase(right.data);
  return left;
}

// Frees the blocks whose events have passed. Events of one stream pass in order, so the search stops at the first that
// has not passed.
void CachingAllocator::process_events(bool wait) {
  for (auto& [stream, queue] : pending_) {
    while (!queue.empty()) {
      const auto [event, block] = queue.front();
      if (wait) {
        source_.wait(event);
      } else if (!source_.done(event)) {
        break;
      }
      source_.discard(event);
      queue.pop_front();
      if (--block->events == 0) make_free(*block);
    }
  }
}

void CachingAllocator::release_segment(Block& block) {
  statistics_.reserved -= block.bytes;
  source_.release(block.data, block.bytes);
  blocks_.erase(block.data);
}

void CachingAllocator::release_idle_segments() {
  for (auto& [key, list] : free_) {
    if (kept_.contains(key.first)) continue;
    for (auto i = list.begin(); i != list.end();) {
      Block& block = **i;
      const bool whole_segment = block.left == nullptr && block.right == nullptr;
      i = whole_segment ? list.erase(i) : std::next(i);
      if (whole_segment) release_segment(block);
    }
  }
}

size_t CachingAllocator::largest_free() const {
  size_t largest = 0;
  for (const auto& [key, list] : free_)
    if (!list.empty()) largest = std::max(largest, (*list.rbegin())->bytes);
  return largest;
}

void CachingAllocator::throw_out_of_memory(size_t bytes) const {
  throw OutOfMemory(fmt::format(
      "{}: out of memory: asked for {} ({} bytes); {} in use, {} cached with {} as its largest free block, "
      "{} in all; use a smaller batch, shorter segments, recomputation or bf16 precision",
      source_.name(), bytes_text(bytes), bytes, bytes_text(statistics_.in_use),
      bytes_text(statistics_.reserved - statistics_.in_use), bytes_text(largest_free()),
      bytes_text(source_.total_bytes())));
}

}  // namespace tandem
