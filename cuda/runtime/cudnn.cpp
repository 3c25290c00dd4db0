// The cuDNN handle.
#include "tandem/cuda/runtime/cudnn.h"

#include <cstdlib>

#include "tandem/cuda/runtime/context.h"

namespace tandem::cuda {

cudnnHandle_t cudnn_handle() {
  static const cudnnHandle_t handle = [] {
    // cuDNN calls cuBLAS on several streams; with workspaces of one size the results do not depend on which
    // stream gets which (cuBLAS library, "Results reproducibility").
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:2", /*overwrite=*/0);
    cudnnHandle_t made = nullptr;
    TANDEM_CUDNN_CHECK(cudnnCreate(&made));
    TANDEM_CUDNN_CHECK(cudnnSetStream(made, compute_stream()));
    return made;
  }();
  return handle;
}

}  // namespace tandem::cuda
