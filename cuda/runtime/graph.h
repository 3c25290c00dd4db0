// Graph: work that is recorded once and then launched any number of times with one call, at the same
// addresses (a CUDA graph).
#pragma once
#include <cstdint>
#include <functional>

#include "tandem/core/storage.h"

namespace tandem::cuda {

// Tensors that the recorded work reads or writes and did not allocate itself must stay where they are. Those
// that it allocates come from a memory pool of the graph's own, which nothing else uses as long as the graph
// lives.
class Graph {
 public:
  Graph();
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Runs f, whose work on the compute stream is recorded instead of done. Tensors that f makes and keeps hold
  // the results of the latest replay. Error: f did what a graph cannot hold, such as waiting for the device
  // or reading a value from it; or it is the second call.
  void capture(const std::function<void()>& f);
  bool captured() const { return executable_ != nullptr; }

  // Enqueues the work. The steps of its dropout keys are those of the capture plus `step_offset`.
  void replay(uint32_t step_offset);

 private:
  StreamId pool_;
  void* executable_ = nullptr;
};

}  // namespace tandem::cuda
