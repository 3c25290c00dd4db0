// Graph: work that is recorded once and then launched any number of times with one call, at the same
// addresses (a CUDA graph).
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "tandem/core/storage.h"

namespace tandem::cuda {

// A memory pool for what graphs allocate while they are captured, which nothing else uses as long as it lives. Error: the
// environment asks for an allocator without pools.
class GraphMemory {
 public:
  GraphMemory();
  ~GraphMemory();
  GraphMemory(const GraphMemory&) = delete;
  GraphMemory& operator=(const GraphMemory&) = delete;
  StreamId pool() const { return pool_; }

 private:
  StreamId pool_;
};

// Tensors that the recorded work reads or writes and did not allocate itself must stay where they are. Graphs may share
// their memory if they are always replayed in the order of their captures: what one frees, the next takes.
class Graph {
 public:
  explicit Graph(std::shared_ptr<GraphMemory> memory = std::make_shared<GraphMemory>());
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Runs f, whose work on the compute stream is recorded instead of done. Tensors that f makes and keeps hold
  // the results of the latest replay. Error: f did what a graph cannot hold, such as waiting for the device
  // or reading a value from it; or it is the second call.
  void capture(const std::function<void()>& f);
  // The same in two calls: what comes between them is recorded. abandon() may take the place of end(), and is what has to
  // follow an error: nothing of the capture remains, and the stream works again.
  void begin();
  void end();
  void abandon();
  bool captured() const { return executable_ != nullptr; }

  // Enqueues the work. The steps of its dropout keys are those of the capture plus `step_offset`.
  void replay(uint32_t step_offset);

 private:
  std::shared_ptr<GraphMemory> memory_;
  std::optional<AllocationScope> allocation_;  // between begin() and end()
  void* executable_ = nullptr;
};

}  // namespace tandem::cuda
