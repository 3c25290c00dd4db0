// What the simulator's parts share. One lock holds them all: a simulated GPU does one thing at a time.
#pragma once
#include <functional>
#include <mutex>
#include <string>
#include <typeinfo>
#include <utility>

#include "cuda_runtime_api.h"
#include "simulator.h"

namespace tandem::simulator {

std::recursive_mutex& mutex();
Statistics& counters();
bool& profiling();  // between cudaProfilerStart and cudaProfilerStop

// errors.cpp
cudaError_t note(cudaError_t error);                    // kept for this thread's cudaGetLastError
cudaError_t fail(cudaError_t error, std::string text);  // of the device: from now on, every call fails
cudaError_t device_error();                             // the first that `fail` was told, or cudaSuccess
void forget_device_error();

// A call of the runtime: alone, and with its error noted.
template <class F>
cudaError_t call(F&& f) {
  const std::lock_guard lock(mutex());
  return note(f());
}

// scheduler.cpp
struct Grid {
  dim3 grid;
  dim3 block;
  size_t shared_bytes;
  const void* function;
  const std::type_info* signature;
  std::function<void()> thread;
};
cudaError_t run(const Grid& grid);
std::string kernel_name(const void* function, const std::type_info& signature);

// streams.cpp
// A stream runs operations. One that returns cudaErrorNotReady cannot end yet: it is run again later, and the next waits.
using Operation = std::function<cudaError_t()>;
// Runs the operation, or keeps it for later, or records it in a graph, as the state of the stream asks.
cudaError_t submit(cudaStream_t stream, Operation operation);
bool is_capturing(cudaStream_t stream);
cudaError_t finish(cudaStream_t stream);  // runs what the stream has kept
void finish_all_streams();
void finish_blocking_streams();  // those that the legacy stream waits for
// For calls that may disturb a capture, such as cudaMalloc: an error, and the capture is spoilt, if one
// forbids them.
cudaError_t forbidden_in_capture();

// memory.cpp
enum class Place { device, pinned, pageable };
Place place_of(const void* address);
bool is_device_memory(const void* address, size_t bytes);               // all of it, in one allocation
std::pair<const void*, size_t> device_allocation(const void* address);  // that holds it; null if none does
cudaError_t verify_guards();                                            // fails the device if one is damaged

}  // namespace tandem::simulator
