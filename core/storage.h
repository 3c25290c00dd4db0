// Storage, the block of memory that tensors share, and the interface of the allocators that provide such blocks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "tandem/core/device.h"

namespace tandem {

// Identifies a stream: 0 is the compute stream (the only one on a CPU), 1 the copy stream. IDs from kFirstGraphPool on
// name the private memory pools of CUDA graphs, which run on the compute stream.
using StreamId = int;
inline constexpr StreamId kComputeStream = 0, kCopyStream = 1, kFirstGraphPool = 2;

// The stream for which this thread allocates the memory of CUDA tensors. Set it through an AllocationScope.
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
  // Returns a block of at least `bytes`, aligned to 512 bytes; never null, even for 0 bytes. Error: OutOfMemory.
  virtual void* allocate(size_t bytes, StreamId stream) = 0;
  virtual void free(void* block) = 0;
};

// Returns the allocator of a device's memory, which lives until the process ends. Error: the device cannot be used.
Allocator& allocator_of(Device device);

// One block of memory. Tensors and their views share it; it is freed with its last owner.
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
  // The version counts the writes to the elements, so that a copy derived from them (a weight in bf16, int8 or packed,
  // ops/support/weight_cache.h) can tell that it is out of date.
  //
  // Rule: code that writes to a tensor that existed before must call touch() on its storage. The functions of
  // core/array.h, Random, the optimizer and the loading of checkpoints (through copy()) do. Code that writes through
  // data<T>(), span<T>() or raw() must do so itself if the tensor may be a parameter; otherwise products on a GPU,
  // and products in int8 or packed bf16, silently go on with the old values. A new tensor has no copies, so operators
  // that fill their outputs need not.
  uint64_t version() const { return version_; }
  void touch() { ++version_; }
  // True once a tensor in this memory was made a leaf (autograd/leaf.h). Its values are the caller's, so an operator that
  // works in place refuses views of it too.
  bool holds_leaf() const { return holds_leaf_; }
  void set_holds_leaf() { holds_leaf_ = true; }

 private:
  Allocator* allocator_;
  void* data_;
  size_t bytes_;
  Device device_;
  uint64_t version_ = 0;
  bool holds_leaf_ = false;
};

}  // namespace tandem
