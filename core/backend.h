// Whether a GPU can be used, and the allocator of its memory.
#pragma once
#include <string>

#include "core/caching_allocator.h"

namespace tandem {

struct CudaStatus {
  bool available = false;
  // "NVIDIA H100 80GB HBM3, 79.1 GiB, driver 13.0, runtime 13.0"; or why there is none.
  std::string text;
  std::string name;  // of the device alone
};

// Asked of the driver once. Never throws.
const CudaStatus& cuda_status();

// cuda:0 where it can be used, else the CPU.
Device best_device();

namespace cuda {
void describe(CudaStatus& status);
// Of cuda:0, which is set up at the first use. For statistics.
CachingAllocator& allocator();
// Waits until the device has done all that was asked of it. Error: what failed there meanwhile.
void synchronize();
}  // namespace cuda

}  // namespace tandem
