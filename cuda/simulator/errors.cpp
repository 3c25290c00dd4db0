// Error codes: their names, the last one of each host thread, and the device's, which stays.
#include <deque>

#include "internal.h"

namespace tandem::simulator {
namespace {

thread_local cudaError_t t_last_error = cudaSuccess;
cudaError_t g_device_error = cudaSuccess;

// All failures' texts, for cudaGetErrorString hands out pointers that stay valid.
std::deque<std::string>& messages() {
  static auto* texts = new std::deque<std::string>;
  return *texts;
}

struct Name {
  cudaError_t error;
  const char* name;
  const char* text;
};
#define NAME(error, text) \
  Name {                  \
    error, #error, text   \
  }
constexpr Name kNames[] = {
    NAME(cudaSuccess, "no error"),
    NAME(cudaErrorInvalidValue, "invalid argument"),
    NAME(cudaErrorMemoryAllocation, "out of memory"),
    NAME(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    NAME(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    NAME(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    NAME(cudaErrorInvalidDevice, "invalid device ordinal"),
    NAME(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    NAME(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    NAME(cudaErrorNotReady, "device not ready"),
    NAME(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    NAME(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    NAME(cudaErrorLaunchFailure, "unspecified launch failure"),
    NAME(cudaErrorNotSupported, "operation not supported"),
    NAME(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    NAME(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    NAME(cudaErrorStreamCaptureMerge, "operation would result in a merge of separate capture sequences"),
    NAME(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began"),
    NAME(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    NAME(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    NAME(cudaErrorStreamCaptureImplicit,
         "operation would make the legacy stream depend on a capturing blocking stream"),
    NAME(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    NAME(cudaErrorStreamCaptureWrongThread,
         "attempt to terminate a thread-local capture sequence from another thread"),
    NAME(cudaErrorUnknown, "unknown error"),
};
#undef NAME

const Name* find(cudaError_t error) {
  for (const Name& name : kNames)
    if (name.error == error) return &name;
  return nullptr;
}

}  // namespace

std::recursive_mutex& mutex() {
  static auto* instance = new std::recursive_mutex;
  return *instance;
}

bool& profiling() {
  static bool on = false;
  return on;
}

Statistics& counters() {
  static Statistics instance;
  return instance;
}

cudaError_t note(cudaError_t error) {
  if (error != cudaSuccess) t_last_error = error;
  return error;
}

cudaError_t fail(cudaError_t error, std::string text) {
  messages().push_back(std::move(text));
  if (g_device_error == cudaSuccess) g_device_error = error;
  return g_device_error;
}

cudaError_t device_error() {
  return g_device_error;
}

void forget_device_error() {
  g_device_error = t_last_error = cudaSuccess;
}

std::string last_message() {
  const std::lock_guard lock(mutex());
  return messages().empty() ? "" : messages().back();
}

Statistics statistics() {
  const std::lock_guard lock(mutex());
  return counters();
}

void reset_statistics() {
  const std::lock_guard lock(mutex());
  counters() = {};
}

}  // namespace tandem::simulator

using namespace tandem::simulator;

cudaError_t cudaPeekAtLastError() {
  const std::lock_guard lock(mutex());
  return device_error() != cudaSuccess ? device_error() : t_last_error;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  t_last_error = cudaSuccess;
  return error;
}

const char* cudaGetErrorName(cudaError_t error) {
  const Name* name = find(error);
  return name ? name->name : "unrecognized error code";
}

// While the device has failed, the text of its error is what happened, and not a GPU's few words.
const char* cudaGetErrorString(cudaError_t error) {
  const std::lock_guard lock(mutex());
  if (error != cudaSuccess && error == device_error()) return messages().back().c_str();
  const Name* name = find(error);
  return name ? name->text : "unrecognized error code";
}
