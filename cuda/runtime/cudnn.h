// The cuDNN handle, for operators that cuDNN does better than kernels of our own (LSTM). Only in builds that
// found it.
#pragma once
#include <cudnn.h>

#include "cuda/runtime/runtime.h"

namespace tandem::cuda {

inline void check(cudnnStatus_t status, const char* call, const char* file, int line) {
  if (status != CUDNN_STATUS_SUCCESS) fail_call("cudnn", cudnnGetErrorString(status), call, file, line);
}
#define CUDNN_CHECK(call) ::tandem::cuda::check((call), #call, __FILE__, __LINE__)

// Works on the compute stream. Made at the first use, for loading cuDNN takes a while.
cudnnHandle_t cudnn_handle();

}  // namespace tandem::cuda
