// Context: what this process holds of its GPU: streams, the cuBLASLt handle and workspace, and the few words
// of device memory that change from step to step.
#pragma once
#include <cublasLt.h>

#include "core/caching_allocator.h"
#include "cuda/runtime/runtime.h"

namespace tandem::cuda {

struct Context {
  cudaStream_t compute;  // everything but what is named below
  cudaStream_t copy;     // batches from the host
  cublasLtHandle_t blas;
  void* workspace;  // of cuBLASLt, for the compute stream
  size_t workspace_bytes;
  // Added to the step of every dropout key: a captured graph draws new masks at every replay. Else 0.
  uint32_t* step_offset;
  int multiprocessors;
  size_t shared_bytes_per_block;  // at most, when a kernel asks for more than 48 KiB
};

// Made at the first use; lives until the process ends. Error: there is no device, or it refuses.
Context& context();

inline cudaStream_t compute_stream() {
  return context().compute;
}

}  // namespace tandem::cuda
