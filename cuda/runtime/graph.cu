// Capture and replay.
#include "tandem/cuda/runtime/graph.h"

#include <atomic>

#include "tandem/core/backend.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

std::atomic<StreamId> next_pool{kFirstGraphPool};

__global__ void set_word(uint32_t* word, uint32_t value) {
  *word = value;
}

// Ends a capture that failed: nothing of it remains, and the stream works again.
void abandon(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream, &graph);
  if (graph) cudaGraphDestroy(graph);
  cudaGetLastError();
}

}  // namespace

Graph::Graph() : pool_(next_pool++) {
  if (allocator_mode_from_environment() == AllocatorMode::direct)
    throw Error(
        "cuda graph: TANDEM_ALLOCATOR=direct gives freed memory back, which a graph would go on using");
  allocator().keep_stream_memory(pool_, true);
}

Graph::~Graph() {
  if (executable_) {
    cudaStreamSynchronize(compute_stream());
    cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable_));
  }
  allocator().keep_stream_memory(pool_, false);
}

void Graph::capture(const std::function<void()>& f) {
  if (executable_) throw Error("cuda graph: captured already; make a new one");
  const AllocationScope memory(pool_);
  const cudaStream_t stream = compute_stream();
  // Relaxed: the allocator may call cudaMalloc meanwhile.
  TANDEM_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  try {
    f();
  } catch (...) {
    abandon(stream);
    throw;
  }
  cudaGraph_t graph = nullptr;
  TANDEM_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  TANDEM_CUDA_CHECK(status);
  executable_ = executable;
}

void Graph::replay(uint32_t step_offset) {
  if (!executable_) throw Error("cuda graph: replayed before it was captured");
  launch(set_word, 1, 1, 0, compute_stream(), context().step_offset, step_offset);
  TANDEM_CUDA_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable_), compute_stream()));
  launch(set_word, 1, 1, 0, compute_stream(), context().step_offset, 0u);
}

}  // namespace tandem::cuda
