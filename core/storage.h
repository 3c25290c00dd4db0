// A block of memory owned by tensors, and the interface of the allocators that hand such blocks out.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/device.h"

namespace tandem {

// An order of execution on a device: 0 is the compute stream (and the only one on a CPU), 1 the copy stream.
// From kFirstGraphPool on they are pools of memory for CUDA graphs, whose work runs on the compute stream.
using StreamId = int;
inline constexpr StreamId kComputeStream = 0, kCopyStream = 1, kFirstGraphPool = 2;

// The stream that memory of CUDA tensors made by this thread is allocated for.
inline constinit thread_local StreamId allocation_stream = kComputeStream;
class AllocationScope {
 public:
  explicit AllocationScope(StreamId stream) : outer_(allocation_stream) { allocation_stream = stream; }
  ~AllocationScope() { allocation_stream = outer_; }
  AllocationScope(const AllocationScope&) = delete;
  AllocationScope& operator=(const AllocationScope&) = delete;

 private:
  StreamId outer_;
};

class Allocator {
 public:
  virtual ~Allocator() = default;
  // At least `bytes`, aligned to 512; never null (one block even for 0 bytes). Error: OutOfMemory.
  virtual void* allocate(size_t bytes, StreamId stream) = 0;
  virtual void free(void* block) = 0;
};

// The allocator of a device's memory; lives until the process ends. Error: no such device, and why.
Allocator& allocator_of(Device device);

// One block, freed with its last owner.
class Storage {
 public:
  Storage(size_t bytes, Device device)
      : allocator_(&allocator_of(device)),
        data_(allocator_->allocate(bytes, device.is_cpu() ? kComputeStream : allocation_stream)),
        bytes_(bytes),
        device_(device) {}
  ~Storage() { allocator_->free(data_); }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  // Counts the writes through core/array.h and the optimizer, so that what was derived from the elements (a
  // weight's bf16 copy) can be seen to be out of date.
  uint64_t version() const { return version_; }
  void touch() { ++version_; }

 private:
  Allocator* allocator_;
  void* data_;
  size_t bytes_;
  Device device_;
  uint64_t version_ = 0;
};

}  // namespace tandem
