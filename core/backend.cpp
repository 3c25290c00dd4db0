// Asks once whether there is a GPU.
#include "tandem/core/backend.h"

#include "tandem/core/dispatch.h"

namespace tandem {

const CudaStatus& cuda_status() {
  static const CudaStatus status = [] {
    CudaStatus found;
    if constexpr (kWithCuda)
      cuda::describe(found);
    else
      found.text = "no CUDA in this build";
    return found;
  }();
  return status;
}

Device best_device() {
  return cuda_status().available ? Device::cuda() : Device::cpu();
}

}  // namespace tandem
