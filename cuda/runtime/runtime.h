// The CUDA runtime's header, and errors that say which call failed where.
#pragma once
#include <cuda_runtime.h>

#include <string>
#include <string_view>

#include "tandem/core/error.h"

namespace tandem::cuda {

[[noreturn]] inline void fail_call(std::string_view what, std::string_view error, const char* call,
                                   std::string_view file, int line) {
  file.remove_prefix(file.find_last_of('/') + 1);  // npos + 1 is 0
  throw Error(std::string(what) + ": " + std::string(error) + ", in " + call + " (" + std::string(file) +
              ":" + std::to_string(line) + ")");
}

inline void check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // so that the next call does not report it again
  fail_call("cuda", std::string(cudaGetErrorName(status)) + ", " + cudaGetErrorString(status), call, file,
            line);
}

}  // namespace tandem::cuda

// Throws tandem::Error with the call, its error, file and line.
#define TANDEM_CUDA_CHECK(call) ::tandem::cuda::check((call), #call, __FILE__, __LINE__)
