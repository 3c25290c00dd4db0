// Host segments from mmap or malloc, the host allocator, and the choice of allocator by device.
#include "tandem/core/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "tandem/core/backend.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"

namespace tandem {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kBlockAlignment = 512;

// Returns the smallest limit of the group `group`, such as "/slurm/job_7", and of the groups that hold it. Groups that
// are not visible here count as unlimited: a container may see its own group as the root.
size_t smallest_limit(const std::filesystem::path& hierarchy, const char* file_name, std::string group) {
  size_t smallest = SIZE_MAX;
  if (group.find("..") != std::string::npos) group = "/";  // lies outside of what this process can see
  while (true) {
    std::ifstream file(hierarchy / std::filesystem::path(group).relative_path() / file_name);
    size_t limit = 0;  // the file may hold "max", not a number: no limit
    if (file >> limit && limit > 0) smallest = std::min(smallest, limit);
    const size_t slash = group.rfind('/');
    if (group.size() <= 1 || slash == std::string::npos) return smallest;
    group.resize(std::max<size_t>(slash, 1));
  }
}

bool names_memory(const std::string& controllers) {
  return ("," + controllers + ",").find(",memory,") != std::string::npos;
}

}  // namespace

size_t host_memory_limit(const std::string& root) {
  size_t limit = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const std::filesystem::path folder = root, hierarchy = folder / "sys/fs/cgroup";
  const auto lower = [&](const std::string& controllers, const std::string& group) {
    if (controllers.empty())
      limit = std::min(limit, smallest_limit(hierarchy, "memory.max", group));
    else if (names_memory(controllers))
      limit = std::min(limit, smallest_limit(hierarchy / "memory", "memory.limit_in_bytes", group));
  };
  // A line for each hierarchy: "4:memory:/slurm/job_7", or "0::/user.slice" for version 2.
  std::ifstream groups(folder / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    lower(line.substr(first + 1, second - first - 1), line.substr(second + 1));
  }
  // Without that file the roots still tell.
  lower("", "/");
  lower("memory", "/");
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
  TANDEM_CHECK(status.available, "{}: cannot be used: {}; use the cpu", device.str(), status.text);
  TANDEM_CHECK(device == Device::cuda(),
               "{}: one process uses one GPU, cuda:0; CUDA_VISIBLE_DEVICES={} makes it that one",
               device.str(), device.index());
  if constexpr (kWithCuda) return cuda::allocator();
  detail::fail("{}: this build has no CUDA", device.str());
}

}  // namespace tandem
