// Graph: work recorded once and launched again and again with one call, at the same addresses.
#pragma once
#include <cstdint>
#include <functional>

#include "core/storage.h"

namespace tandem::cuda {

// What the recorded work reads and writes outside of the memory it takes itself must stay where it is. The
// pool that it takes memory from is the graph's own: nothing else is ever put there, however often the work
// runs.
class Graph {
 public:
  Graph();
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Runs f, whose work on the compute stream is recorded and not done. Tensors that f leaves behind hold what
  // the next replay computes. Error: f did what a graph cannot hold (waited, read a device's value); it may
  // be called once.
  void capture(const std::function<void()>& f);
  bool captured() const { return executable_ != nullptr; }

  // Enqueues the work. Dropout keys step on by `step_offset` from those of the capture.
  void replay(uint32_t step_offset);

 private:
  StreamId pool_;
  void* executable_ = nullptr;
};

}  // namespace tandem::cuda
