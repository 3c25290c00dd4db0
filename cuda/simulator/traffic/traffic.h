// Counts what the kernels of a program do with memory. It needs kernels that are compiled to report their accesses
// (counted_kernels.cmake); in a program without them every kernel has a count of zero.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace tandem::simulator {

// Reads of global memory, or writes to it.
struct GlobalTraffic {
  uint64_t bytes = 0;  // that the threads ask for, each thread for itself
  uint64_t sectors =
      0;  // of 32 bytes that instructions of warps touch: equal to bytes / 32 where all is coalesced
  uint64_t distinct =
      0;  // bytes that a launch asks for at least once: equal to `bytes` where nothing is asked for twice
  uint64_t sector_bytes() const { return 32 * sectors; }

  GlobalTraffic& operator+=(const GlobalTraffic& other);
};

// The traffic of one launch, or of several. An atomic operation is a read and a write.
struct KernelTraffic {
  // The name is that of the kernel, with its namespace and arguments; or "product 4096x768x3072" (rows, columns and inner size as
  // cuBLASLt sees them, and "of a batch of 8"), "copy to device", "copy to host", "copy on the device", "fill".
  std::string name;
  uint64_t launches = 0;
  GlobalTraffic read = {}, written = {};
  uint64_t shared_accesses = 0;  // instructions of warps that access shared memory
  // Wavefronts beyond those that the instructions need for as many words: shared memory has 32 banks of 4 bytes, and
  // different words of one bank take one wavefront each.
  uint64_t bank_conflicts = 0;

  KernelTraffic& operator+=(const KernelTraffic& other);
};

// Counts all that the device does from its construction on. Matrix products are not run thread by thread: they count as
// reads of their operands and a write of their result, each once. Error (std::logic_error): another count is alive.
class TrafficCount {
 public:
  TrafficCount();
  ~TrafficCount();
  TrafficCount(const TrafficCount&) = delete;
  TrafficCount& operator=(const TrafficCount&) = delete;

  // Return what was counted so far: each launch, copy, fill and product in order; those of one name added up, in the
  // order of the names; the sum of those whose names contain a text. Streams that lag behind are waited for.
  std::vector<KernelTraffic> launches() const;
  std::vector<KernelTraffic> kernels() const;
  KernelTraffic sum(const std::string& name_contains = "") const;

 private:
  class Counter;
  std::unique_ptr<Counter> counter_;
};

}  // namespace tandem::simulator
