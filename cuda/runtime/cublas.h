// cuBLASLt's header, and errors that say which call failed where. For the host code of cuda/runtime alone:
// the header is large, and kernel files are compiled by several compilers in turn.
#pragma once
#include <cublasLt.h>

#include "tandem/cuda/runtime/runtime.h"

namespace tandem::cuda {

inline void check(cublasStatus_t status, const char* call, const char* file, int line) {
  if (status != CUBLAS_STATUS_SUCCESS) fail_call("cublas", cublasLtGetStatusString(status), call, file, line);
}

}  // namespace tandem::cuda

// Throws tandem::Error with the call, its error, file and line.
#define TANDEM_CUBLAS_CHECK(call) ::tandem::cuda::check((call), #call, __FILE__, __LINE__)
