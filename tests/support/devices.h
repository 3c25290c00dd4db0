// The devices that tests of both backends run on.
#pragma once
#include <vector>

#include "tandem/core/backend.h"
#include "tandem/core/device.h"

namespace tandem::testing {

// True where this process can use a GPU, real or simulated.
inline bool has_cuda() {
  return cuda_status().available;
}

inline std::vector<Device> test_devices() {
  return has_cuda() ? std::vector{Device::cpu(), Device::cuda()} : std::vector{Device::cpu()};
}

}  // namespace tandem::testing
