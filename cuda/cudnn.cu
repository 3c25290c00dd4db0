// The cuDNN handle.
#include "cuda/cudnn.h"

#include "cuda/context.h"

namespace tandem::cuda {

cudnnHandle_t cudnn_handle() {
  static const cudnnHandle_t handle = [] {
    cudnnHandle_t made = nullptr;
    CUDNN_CHECK(cudnnCreate(&made));
    CUDNN_CHECK(cudnnSetStream(made, compute_stream()));
    return made;
  }();
  return handle;
}

}  // namespace tandem::cuda
