// The cuDNN handle: only on a real GPU, in a build that found cuDNN.
#include <doctest/doctest.h>

#include "tests/support/devices.h"
#ifdef TANDEM_WITH_CUDNN
#include "tandem/cuda/runtime/cudnn.h"
#endif

namespace tandem::testing {

TEST_CASE("cuda: cuDNN is there when it is asked for, and of the major version that was built against") {
#ifdef TANDEM_WITH_CUDNN
  const size_t version = cuda::cudnn().cudnnGetVersion();
  MESSAGE("cuDNN ", version, ", built against ", CUDNN_VERSION);
  CHECK(version / 10000 == CUDNN_MAJOR);
  if (!has_cuda()) {
    MESSAGE("skipped: no GPU (", cuda_status().text, ")");
    return;
  }
  const cudnnHandle_t handle = cuda::cudnn_handle();
  CHECK(handle != nullptr);
  CHECK(cuda::cudnn_handle() == handle);
#else
  MESSAGE("skipped: this build has no cuDNN");
  CHECK_FALSE(cuda_status().text.empty());
#endif
}

}  // namespace tandem::testing
