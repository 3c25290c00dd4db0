// Context: the state that this process keeps for its GPU: streams, the cuBLASLt handle and workspace, and the
// words of device memory that change from step to step.
#pragma once
#include <cstddef>
#include <cstdint>

#include "tandem/cuda/runtime/runtime.h"

// Declares the type behind cublasLtHandle_t, so that cublasLt.h stays out of this header, which every kernel
// file includes.
struct cublasLtContext;

namespace tandem::cuda {

struct Context {
  cudaStream_t compute;  // all work except the copies below
  cudaStream_t copy;     // batches from the host
  cublasLtContext* blas;
  void* workspace;  // cuBLASLt's, for the compute stream
  size_t workspace_bytes;
  // Added to the step of every dropout key, so that a captured graph draws new masks at every replay; 0
  // outside of replays.
  uint32_t* step_offset;
  int multiprocessors;
  size_t shared_bytes_per_block;  // the most that a kernel can ask for
};

// Returns the context, which is made at the first call and lives until the process ends. Error: there is no
// device, or a CUDA call fails.
Context& context();

inline cudaStream_t compute_stream() {
  return context().compute;
}

}  // namespace tandem::cuda
