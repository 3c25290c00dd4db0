// Streams and events. A stream runs its work at once, or keeps it until something waits for it: then work
// that forgot to wait for it sees stale data.
#include "streams.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace tandem::simulator {
namespace {

Streams from_environment() {
  const char* name = std::getenv("TANDEM_SIMULATOR_STREAMS");
  return std::string_view(name ? name : "") == "first_behind" ? Streams::first_behind : Streams::first_ahead;
}

Streams g_streams = from_environment();
bool g_created = false;

bool is_legacy(cudaStream_t stream) {
  return !stream || stream == cudaStreamLegacy;
}

// The legacy stream runs everything at once.
bool is_late(cudaStream_t stream) {
  return !is_legacy(stream) && stream->first == (g_streams == Streams::first_behind);
}

// Runs what the stream has kept, up to the mark if one is given, or up to an operation that cannot end yet.
void run_kept(cudaStream_t stream, const Mark* until = nullptr) {
  while (!stream->waiting.empty() && !(until && until->done)) {
    Operation operation = std::move(stream->waiting.front());
    stream->waiting.pop_front();
    if (operation() == cudaErrorNotReady) return stream->waiting.push_front(std::move(operation));
  }
}

// A host that waits for an operation that cannot end would wait for ever. Here it gets an error, at once.
cudaError_t fail_endless_wait() {
  return fail(
      cudaErrorLaunchTimeout,
      "the host waits without a deadline for work that cannot end, such as NCCL's with a rank that is gone");
}

// Runs an operation now or later. Marks and waits are not work: they happen even on a device that failed.
cudaError_t put(cudaStream_t stream, Operation operation) {
  const bool now = is_legacy(stream) || (!is_late(stream) && stream->waiting.empty());
  const cudaError_t error = now ? operation() : cudaErrorNotReady;
  if (error != cudaErrorNotReady) return error;
  if (is_legacy(stream)) return fail_endless_wait();
  stream->queries = 0;
  stream->waiting.push_back(std::move(operation));
  return cudaSuccess;
}

cudaError_t spoil(cudaStream_t stream, cudaError_t error) {
  stream->capture->spoilt = true;
  return error;
}

// Legacy work waits for blocking streams, which one that captures cannot give.
cudaError_t prepare_legacy() {
  for (const cudaStream_t stream : all_streams())
    if (stream->blocking && stream->capture) return spoil(stream, cudaErrorStreamCaptureImplicit);
  finish_blocking_streams();
  return cudaSuccess;
}

}  // namespace

std::vector<cudaStream_t>& all_streams() {
  static auto* streams = new std::vector<cudaStream_t>;
  return *streams;
}

bool is_known(cudaStream_t stream) {
  return is_legacy(stream) ||
         std::find(all_streams().begin(), all_streams().end(), stream) != all_streams().end();
}

bool is_capturing(cudaStream_t stream) {
  return is_known(stream) && !is_legacy(stream) && stream->capture;
}

cudaError_t submit(cudaStream_t stream, Operation operation) {
  if (!is_known(stream)) return cudaErrorInvalidResourceHandle;
  Operation work = [operation = std::move(operation)] {
    return device_error() != cudaSuccess ? device_error() : operation();
  };
  if (is_capturing(stream)) {
    Capture& capture = *stream->capture;
    if (capture.spoilt) return cudaErrorStreamCaptureInvalidated;
    if (stream != capture.origin) capture.joined[stream] = false;
    capture.operations.push_back(std::move(work));
    return cudaSuccess;
  }
  if (is_legacy(stream))
    if (const cudaError_t error = prepare_legacy(); error != cudaSuccess) return error;
  return put(stream, std::move(work));
}

cudaError_t finish(cudaStream_t stream) {
  if (!is_known(stream)) return cudaErrorInvalidResourceHandle;
  if (is_legacy(stream)) {
    if (const cudaError_t error = prepare_legacy(); error != cudaSuccess) return error;
  } else {
    run_kept(stream);
    if (!stream->waiting.empty()) return fail_endless_wait();
  }
  return verify_guards();
}

void finish_all_streams() {
  for (const cudaStream_t stream : all_streams()) run_kept(stream);
}

void finish_blocking_streams() {
  for (const cudaStream_t stream : all_streams())
    if (stream->blocking) run_kept(stream);
}

void reach(const Mark& mark) {
  if (!mark.done) run_kept(mark.stream, &mark);
}

cudaError_t forbidden_in_capture() {
  cudaError_t result = cudaSuccess;
  for (const cudaStream_t stream : all_streams()) {
    if (!stream->capture || stream->capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if (stream->capture->mode == cudaStreamCaptureModeThreadLocal &&
        stream->capture->thread != std::this_thread::get_id())
      continue;
    result = spoil(stream, cudaErrorStreamCaptureUnsupported);
  }
  return result;
}

void set_streams(Streams streams) {
  const std::lock_guard lock(mutex());
  finish_all_streams();
  g_streams = streams;
}
Streams streams() {
  return g_streams;
}

void clear_error() {
  const std::lock_guard lock(mutex());
  finish_all_streams();  // nothing of it runs but marks, if the device failed
  check_guards();
  forget_device_error();
}

}  // namespace tandem::simulator

using namespace tandem::simulator;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return call([&] {
    if (!stream || flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
    *stream = new CUstream_st;
    (*stream)->blocking = flags == cudaStreamDefault;
    (*stream)->first = !g_created;
    g_created = true;
    all_streams().push_back(*stream);
    return device_error();
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return call([&] {
    if (!is_known(stream) || is_legacy(stream)) return cudaErrorInvalidResourceHandle;
    run_kept(stream);
    if (stream->capture) stream->capture->spoilt = true;
    std::erase(all_streams(), stream);
    delete stream;
    return device_error();
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return call([&] {
    if (is_capturing(stream)) return spoil(stream, cudaErrorStreamCaptureUnsupported);
    if (const cudaError_t error = forbidden_in_capture(); error != cudaSuccess) return error;
    return finish(stream);
  });
}

// Work that is kept goes on at the second question.
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return call([&] {
    if (is_capturing(stream)) return spoil(stream, cudaErrorStreamCaptureUnsupported);
    if (const cudaError_t error = forbidden_in_capture(); error != cudaSuccess) return error;
    if (!is_known(stream)) return cudaErrorInvalidResourceHandle;
    if (!is_legacy(stream) && !stream->waiting.empty()) {
      if (++stream->queries < 2) return cudaErrorNotReady;
      run_kept(stream);
      if (!stream->waiting.empty()) return cudaErrorNotReady;
    }
    return finish(stream);
  });
}

cudaError_t cudaDeviceSynchronize() {
  return call([&] {
    for (const cudaStream_t stream : all_streams())
      if (stream->capture) return spoil(stream, cudaErrorStreamCaptureUnsupported);
    finish_all_streams();
    for (const cudaStream_t stream : all_streams())
      if (!stream->waiting.empty()) return fail_endless_wait();
    return verify_guards();
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return call([&] {
    if (!event || flags > (cudaEventBlockingSync | cudaEventDisableTiming)) return cudaErrorInvalidValue;
    *event = new CUevent_st;
    (*event)->timed = !(flags & cudaEventDisableTiming);
    return device_error();
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return call([&] {
    if (!event) return cudaErrorInvalidResourceHandle;
    delete event;
    return device_error();
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return call([&] {
    if (!event || !is_known(stream)) return cudaErrorInvalidResourceHandle;
    const auto mark = std::make_shared<Mark>();
    mark->stream = stream;
    if (is_capturing(stream)) {
      if (stream->capture->spoilt) return cudaErrorStreamCaptureInvalidated;
      mark->capture = stream->capture;
      event->mark = mark;
      return cudaSuccess;
    }
    if (is_legacy(stream))
      if (const cudaError_t error = prepare_legacy(); error != cudaSuccess) return error;
    event->mark = mark;
    put(stream, [mark] {
      mark->done = true;
      mark->time = std::chrono::steady_clock::now();
      return cudaSuccess;
    });
    return device_error();
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  return call([&] {
    if (!event || !is_known(stream)) return cudaErrorInvalidResourceHandle;
    if (flags != 0) return cudaErrorInvalidValue;
    const auto mark = event->mark;
    if (!mark) return device_error();
    if (mark->capture) {
      // The stream joins the capture that the event was recorded in.
      Capture& capture = *mark->capture;
      if (capture.ended) return cudaErrorCapturedEvent;
      if (is_legacy(stream)) return cudaErrorStreamCaptureImplicit;
      if (stream->capture && stream->capture != mark->capture)
        return spoil(stream, cudaErrorStreamCaptureMerge);
      if (capture.spoilt) return cudaErrorStreamCaptureInvalidated;
      stream->capture = mark->capture;
      if (stream != capture.origin) capture.joined[stream] = false;
      if (mark->stream != capture.origin && mark->stream != stream) capture.joined[mark->stream] = true;
      return cudaSuccess;
    }
    if (is_capturing(stream)) return spoil(stream, cudaErrorStreamCaptureIsolation);
    put(stream, [mark] {
      reach(*mark);
      return mark->done ? cudaSuccess : cudaErrorNotReady;
    });
    return device_error();
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return call([&] {
    if (!event) return cudaErrorInvalidResourceHandle;
    if (event->mark && event->mark->capture) return cudaErrorCapturedEvent;
    if (const cudaError_t error = forbidden_in_capture(); error != cudaSuccess) return error;
    if (event->mark && !event->mark->done) {
      if (++event->mark->queries < 2) return cudaErrorNotReady;
      reach(*event->mark);
      if (!event->mark->done) return cudaErrorNotReady;
    }
    return device_error();
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return call([&] {
    if (!event) return cudaErrorInvalidResourceHandle;
    if (event->mark && event->mark->capture) return cudaErrorCapturedEvent;
    if (const cudaError_t error = forbidden_in_capture(); error != cudaSuccess) return error;
    if (event->mark) {
      reach(*event->mark);
      if (!event->mark->done) return fail_endless_wait();
    }
    return device_error();
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return call([&] {
    if (!milliseconds) return cudaErrorInvalidValue;
    for (const cudaEvent_t event : {start, end}) {
      if (!event || !event->timed || !event->mark) return cudaErrorInvalidResourceHandle;
      if (event->mark->capture) return cudaErrorCapturedEvent;
      if (!event->mark->done) return cudaErrorNotReady;
    }
    *milliseconds = std::chrono::duration<float, std::milli>(end->mark->time - start->mark->time).count();
    return device_error();
  });
}
