// A block of memory owned by tensors, and the interface of the allocators that hand such blocks out.
#pragma once
#include <cstddef>
#include <memory>

#include "core/device.h"

namespace tandem {

// An order of execution on a device: 0 is the compute stream (and the only one on a CPU).
using StreamId = int;

class Allocator {
 public:
  virtual ~Allocator() = default;
  // At least `bytes`, aligned to 512; never null (one block even for 0 bytes). Error: OutOfMemory.
  virtual void* allocate(size_t bytes, StreamId stream) = 0;
  virtual void free(void* block) = 0;
};

// The allocator of a device's memory; lives until the process ends. Error: no such device in this build.
Allocator& allocator_of(Device device);
// How the CUDA backend announces its allocator at start-up.
void set_cuda_allocator(int index, Allocator* allocator);

// One block, freed with its last owner.
class Storage {
 public:
  Storage(size_t bytes, Device device, StreamId stream = 0)
      : allocator_(&allocator_of(device)),
        data_(allocator_->allocate(bytes, stream)),
        bytes_(bytes),
        device_(device) {}
  ~Storage() { allocator_->free(data_); }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  Allocator* allocator_;
  void* data_;
  size_t bytes_;
  Device device_;
};

}  // namespace tandem
