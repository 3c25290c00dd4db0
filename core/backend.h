// Detecting a GPU, and the functions that reach it.
#pragma once
#include <string>

#include "tandem/core/caching_allocator.h"

namespace tandem {

struct CudaStatus {
  bool available = false;
  // "NVIDIA H100 80GB HBM3, 79.1 GiB, driver 13.0, runtime 13.0"; or the reason why no GPU can be used.
  std::string text;
  std::string name;  // the device's name alone; empty if there is none
};

// Returns what the driver says of cuda:0; asks once. Never throws.
const CudaStatus& cuda_status();

// Returns cuda:0 if it can be used, else the CPU.
Device best_device();

namespace cuda {
// Fills in `status`, for cuda_status().
void describe(CudaStatus& status);
// Returns the allocator of cuda:0; the first call sets the device up.
CachingAllocator& allocator();
// Waits until the device has finished all work given to it. Error: a kernel or a copy failed.
void synchronize();
}  // namespace cuda

}  // namespace tandem
