// Captures and graphs: a graph is the list of the work that was recorded, run again in that order.
#include <algorithm>

#include "streams.h"

using namespace tandem::simulator;

struct CUgraph_st {
  std::vector<Operation> operations;
};
struct CUgraphExec_st {
  std::shared_ptr<const std::vector<Operation>> operations;
};

namespace {

bool can_capture(cudaStream_t stream) {
  return is_known(stream) && stream && stream != cudaStreamLegacy;
}

// The error that ends the capture, or cudaSuccess.
cudaError_t verdict(const Capture& capture) {
  if (capture.spoilt) return cudaErrorStreamCaptureInvalidated;
  const auto apart = [](const auto& entry) { return !entry.second; };
  if (std::any_of(capture.joined.begin(), capture.joined.end(), apart)) return cudaErrorStreamCaptureUnjoined;
  return device_error();
}

}  // namespace

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return call([&] {
    if (!is_known(stream)) return cudaErrorInvalidResourceHandle;
    if (!can_capture(stream)) return cudaErrorStreamCaptureUnsupported;
    if (stream->capture) return cudaErrorIllegalState;
    if (device_error() != cudaSuccess) return device_error();
    stream->capture = std::make_shared<Capture>();
    stream->capture->origin = stream;
    stream->capture->mode = mode;
    stream->capture->thread = std::this_thread::get_id();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return call([&] {
    if (!graph) return cudaErrorInvalidValue;
    *graph = nullptr;
    if (!is_known(stream)) return cudaErrorInvalidResourceHandle;
    if (!is_capturing(stream)) return cudaErrorIllegalState;
    const auto capture = stream->capture;
    if (capture->origin != stream) return cudaErrorStreamCaptureUnmatched;
    if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
      return cudaErrorStreamCaptureWrongThread;
    for (const cudaStream_t other : all_streams())
      if (other->capture == capture) other->capture = nullptr;
    capture->ended = true;
    if (const cudaError_t error = verdict(*capture); error != cudaSuccess) return error;
    *graph = new CUgraph_st{std::move(capture->operations)};
    return cudaSuccess;
  });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return call([&] {
    if (!status) return cudaErrorInvalidValue;
    if (!is_known(stream)) return cudaErrorInvalidResourceHandle;
    *status = !is_capturing(stream)     ? cudaStreamCaptureStatusNone
              : stream->capture->spoilt ? cudaStreamCaptureStatusInvalidated
                                        : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags) {
  return call([&] {
    if (!exec || !graph || flags != 0) return cudaErrorInvalidValue;
    *exec = new CUgraphExec_st{std::make_shared<const std::vector<Operation>>(graph->operations)};
    return device_error();
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  return call([&] {
    if (!exec) return cudaErrorInvalidValue;
    ++counters().graph_launches;
    // Goes on where it was if an operation could not end yet.
    return submit(stream, [operations = exec->operations, next = size_t{0}]() mutable {
      for (; next < operations->size(); ++next)
        if (const cudaError_t error = (*operations)[next](); error != cudaSuccess) return error;
      return cudaSuccess;
    });
  });
}

// Only counts: nodes must be null.
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  return call([&] {
    if (!graph || nodes || !count) return cudaErrorInvalidValue;
    *count = graph->operations.size();
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return call([&] {
    if (!graph) return cudaErrorInvalidValue;
    delete graph;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  return call([&] {
    if (!exec) return cudaErrorInvalidValue;
    delete exec;
    return cudaSuccess;
  });
}
