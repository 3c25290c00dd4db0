// Host segments from mmap or malloc, the host allocator, and the choice of allocator by device.
#include "core/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "core/backend.h"
#include "core/check.h"
#include "core/dispatch.h"

namespace tandem {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kBlockAlignment = 512;
}  // namespace

size_t host_memory_limit() {
  size_t limit = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    size_t group = 0;  // the file may hold "max", not a number: no limit
    if (file >> group && group > 0) limit = std::min(limit, group);
  }
  return limit;
}

HostMemory::HostMemory(bool visible_to_sanitizers, size_t limit)
    : visible_to_sanitizers_(visible_to_sanitizers), limit_(limit) {}

// Returns true for sizes of whole huge pages, as cached segments have: these are mapped, so that release() returns them
// to the system at once.
bool HostMemory::mapped(size_t bytes) const {
  return !visible_to_sanitizers_ && bytes % kHugePage == 0;
}

void* HostMemory::acquire(size_t bytes) {
  if (bytes > limit_ - acquired_) return nullptr;
  void* segment = nullptr;
  if (mapped(bytes)) {
    // mmap aligns to 4 KiB only: map one huge page more and unmap what lies before and after the aligned part.
    void* mapping = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) return nullptr;
    char* begin = static_cast<char*>(mapping);
    const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
    if (before > 0) munmap(begin, before);
    if (before < kHugePage) munmap(begin + before + bytes, kHugePage - before);
    segment = begin + before;
    madvise(segment, bytes, MADV_HUGEPAGE);  // only a hint: if it is refused, pages are small
  } else if (posix_memalign(&segment, kBlockAlignment, bytes) != 0) {
    return nullptr;
  }
  acquired_ += bytes;
  return segment;
}

void HostMemory::release(void* segment, size_t bytes) {
  acquired_ -= bytes;
  if (mapped(bytes)) {
    munmap(segment, bytes);
  } else {
    std::free(segment);
  }
}

void HostMemory::poison(void* block, size_t bytes, StreamId) {
  std::memset(block, 0xff, bytes);
}

CachingAllocator& host_allocator() {
  // Never destroyed: tensors with static lifetime may be freed after this function's statics would be.
  static CachingAllocator& allocator = []() -> CachingAllocator& {
    const AllocatorMode mode = allocator_mode_from_environment();
    static HostMemory& source = *new HostMemory(mode == AllocatorMode::direct);
    return *new CachingAllocator(source, mode);
  }();
  return allocator;
}

Allocator& allocator_of(Device device) {
  if (device.is_cpu()) return host_allocator();
  const CudaStatus& status = cuda_status();
  CHECK(status.available, "{}: cannot be used: {}; use the cpu", device.str(), status.text);
  CHECK(device == Device::cuda(),
        "{}: one process uses one GPU, cuda:0; CUDA_VISIBLE_DEVICES={} makes it that one", device.str(),
        device.index());
  if constexpr (kWithCuda) return cuda::allocator();
  detail::fail("{}: this build has no CUDA", device.str());
}

}  // namespace tandem
