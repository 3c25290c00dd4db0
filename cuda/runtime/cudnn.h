// The cuDNN handle, for the operators that cuDNN computes faster than our kernels (LSTM). Only in builds that
// found cuDNN.
#pragma once
#include <cudnn.h>

#include "tandem/cuda/runtime/runtime.h"

namespace tandem::cuda {

inline void check(cudnnStatus_t status, const char* call, const char* file, int line) {
  if (status != CUDNN_STATUS_SUCCESS) fail_call("cudnn", cudnnGetErrorString(status), call, file, line);
}
#define TANDEM_CUDNN_CHECK(call) ::tandem::cuda::check((call), #call, __FILE__, __LINE__)

// Returns the handle, whose work goes to the compute stream. It is made at the first call, because loading
// cuDNN is slow.
cudnnHandle_t cudnn_handle();

}  // namespace tandem::cuda
