// Loading of cuDNN, and its handle.
#include "tandem/cuda/runtime/cudnn.h"

#include <cstdlib>

#include "tandem/cuda/runtime/context.h"
#include "tandem/cuda/runtime/library.h"

namespace tandem::cuda {

const CudnnFunctions& cudnn() {
#define TANDEM_FIND(name) find_function(found.name, library, "cuDNN", #name);
  static const CudnnFunctions functions = [] {
    void* const library = load_library("cuDNN", {"libcudnn.so." TANDEM_TEXT(CUDNN_MAJOR), TANDEM_CUDNN_FILE});
    CudnnFunctions found{};
    TANDEM_CUDNN_FUNCTIONS(TANDEM_FIND)
    return found;
  }();
  return functions;
}

cudnnHandle_t cudnn_handle() {
  static const cudnnHandle_t handle = [] {
    // cuDNN calls cuBLAS on several streams; with workspaces of one size the results do not depend on which
    // stream gets which (cuBLAS library, "Results reproducibility").
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:2", /*overwrite=*/0);
    cudnnHandle_t made = nullptr;
    TANDEM_CUDNN_CHECK(cudnn().cudnnCreate(&made));
    TANDEM_CUDNN_CHECK(cudnn().cudnnSetStream(made, compute_stream()));
    return made;
  }();
  return handle;
}

}  // namespace tandem::cuda
