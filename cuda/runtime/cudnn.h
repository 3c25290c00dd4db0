// cuDNN's functions and handle, for the operators that cuDNN computes faster than our kernels (LSTM). Only in builds that
// found cuDNN.
#pragma once
#include <cudnn.h>

#include "tandem/cuda/runtime/runtime.h"

// The functions that Tandem calls.
#define TANDEM_CUDNN_FUNCTIONS(ONE)  \
  ONE(cudnnCreate)                   \
  ONE(cudnnCreateDropoutDescriptor)  \
  ONE(cudnnCreateRNNDataDescriptor)  \
  ONE(cudnnCreateRNNDescriptor)      \
  ONE(cudnnCreateTensorDescriptor)   \
  ONE(cudnnDestroyDropoutDescriptor) \
  ONE(cudnnDestroyRNNDataDescriptor) \
  ONE(cudnnDestroyRNNDescriptor)     \
  ONE(cudnnDestroyTensorDescriptor)  \
  ONE(cudnnGetErrorString)           \
  ONE(cudnnGetRNNTempSpaceSizes)     \
  ONE(cudnnGetRNNWeightParams)       \
  ONE(cudnnGetRNNWeightSpaceSize)    \
  ONE(cudnnGetVersion)               \
  ONE(cudnnRNNBackwardData_v8)       \
  ONE(cudnnRNNBackwardWeights_v8)    \
  ONE(cudnnRNNForward)               \
  ONE(cudnnSetDropoutDescriptor)     \
  ONE(cudnnSetRNNDataDescriptor)     \
  ONE(cudnnSetRNNDescriptor_v8)      \
  ONE(cudnnSetStream)                \
  ONE(cudnnSetTensorNdDescriptor)

namespace tandem::cuda {

struct CudnnFunctions {
#define TANDEM_DECLARE(name) decltype(&::name) name;
  TANDEM_CUDNN_FUNCTIONS(TANDEM_DECLARE)
#undef TANDEM_DECLARE
};

// Returns cuDNN's functions, which the first call loads. Error: the library cannot be loaded.
const CudnnFunctions& cudnn();

inline void check(cudnnStatus_t status, const char* call, const char* file, int line) {
  if (status != CUDNN_STATUS_SUCCESS)
    fail_call("cudnn", cudnn().cudnnGetErrorString(status), call, file, line);
}
#define TANDEM_CUDNN_CHECK(call) ::tandem::cuda::check((call), #call, __FILE__, __LINE__)

// Returns the handle, whose work goes to the compute stream. It is made at the first call, because loading
// cuDNN is slow.
cudnnHandle_t cudnn_handle();

}  // namespace tandem::cuda
