// Capture and replay.
#include "tandem/cuda/runtime/graph.h"

#include <atomic>
#include <utility>

#include "tandem/core/backend.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

std::atomic<StreamId> next_pool{kFirstGraphPool};

__global__ void set_word(uint32_t* word, uint32_t value) {
  *word = value;
}

}  // namespace

GraphMemory::GraphMemory() : pool_(next_pool++) {
  if (allocator_mode_from_environment() == AllocatorMode::direct)
    throw Error(
        "cuda graph: TANDEM_ALLOCATOR=direct gives freed memory back, which a graph would go on using");
  allocator().keep_stream_memory(pool_, true);
}

GraphMemory::~GraphMemory() {
  allocator().keep_stream_memory(pool_, false);
}

Graph::Graph(std::shared_ptr<GraphMemory> memory) : memory_(std::move(memory)) {}

Graph::~Graph() {
  if (allocation_) abandon();
  if (!executable_) return;
  cudaStreamSynchronize(compute_stream());
  cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable_));
}

void Graph::capture(const std::function<void()>& f) {
  begin();
  try {
    f();
    end();
  } catch (...) {
    abandon();
    throw;
  }
}

void Graph::begin() {
  if (executable_ || allocation_) throw Error("cuda graph: captured already; make a new one");
  // Relaxed: the allocator may call cudaMalloc meanwhile.
  TANDEM_CUDA_CHECK(cudaStreamBeginCapture(compute_stream(), cudaStreamCaptureModeRelaxed));
  allocation_.emplace(memory_->pool());
}

void Graph::end() {
  if (!allocation_) throw Error("cuda graph: its capture has not begun");
  allocation_.reset();
  cudaGraph_t graph = nullptr;
  TANDEM_CUDA_CHECK(cudaStreamEndCapture(compute_stream(), &graph));
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  TANDEM_CUDA_CHECK(status);
  executable_ = executable;
}

void Graph::abandon() {
  if (!allocation_) return;
  allocation_.reset();
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(compute_stream(), &graph);
  if (graph) cudaGraphDestroy(graph);
  cudaGetLastError();
}

void Graph::replay(uint32_t step_offset) {
  if (!executable_) throw Error("cuda graph: replayed before it was captured");
  launch(set_word, 1, 1, 0, compute_stream(), context().step_offset, step_offset);
  TANDEM_CUDA_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable_), compute_stream()));
  launch(set_word, 1, 1, 0, compute_stream(), context().step_offset, 0u);
}

}  // namespace tandem::cuda
