// cuBLASLt's functions, and errors that say which call failed where. For the host code of cuda/runtime alone: the header is
// large, and kernel files are compiled by several compilers in turn.
#pragma once
#include <cublasLt.h>

#include "tandem/cuda/runtime/runtime.h"

// The functions that Tandem calls.
#define TANDEM_CUBLAS_FUNCTIONS(ONE)        \
  ONE(cublasLtCreate)                       \
  ONE(cublasLtGetStatusString)              \
  ONE(cublasLtMatmul)                       \
  ONE(cublasLtMatmulAlgoGetHeuristic)       \
  ONE(cublasLtMatmulDescCreate)             \
  ONE(cublasLtMatmulDescDestroy)            \
  ONE(cublasLtMatmulDescSetAttribute)       \
  ONE(cublasLtMatmulPreferenceCreate)       \
  ONE(cublasLtMatmulPreferenceDestroy)      \
  ONE(cublasLtMatmulPreferenceSetAttribute) \
  ONE(cublasLtMatrixLayoutCreate)           \
  ONE(cublasLtMatrixLayoutDestroy)          \
  ONE(cublasLtMatrixLayoutSetAttribute)

namespace tandem::cuda {

struct CublasFunctions {
#define TANDEM_DECLARE(name) decltype(&::name) name;
  TANDEM_CUBLAS_FUNCTIONS(TANDEM_DECLARE)
#undef TANDEM_DECLARE
};

// Returns cuBLASLt's functions, which the first call loads. Error: the library cannot be loaded.
const CublasFunctions& cublas();

inline void check(cublasStatus_t status, const char* call, const char* file, int line) {
  if (status != CUBLAS_STATUS_SUCCESS)
    fail_call("cublas", cublas().cublasLtGetStatusString(status), call, file, line);
}

}  // namespace tandem::cuda

// Throws tandem::Error with the call, its error, file and line.
#define TANDEM_CUBLAS_CHECK(call) ::tandem::cuda::check((call), #call, __FILE__, __LINE__)
