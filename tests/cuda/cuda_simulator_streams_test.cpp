// The simulator finds mistakes that are made on purpose: a wait between streams that is missing shows as stale
// data, and captures allow what CUDA's allow. Each test first passes with the correct calls.
#include <doctest/doctest.h>

#include "tandem/core/backend.h"
#ifndef TANDEM_CUDA_SIMULATED
TEST_CASE("cuda simulator: its tests run in builds with -DTANDEM_CUDA=SIMULATE alone") {
  // In a simulated build this case means that the tests below were lost.
  CHECK(tandem::cuda_status().name != "simulated GPU");
}
#else
#include "tests/support/errors.h"
#include "tests/support/simulated_device.h"

namespace tandem {
namespace {

using testing::ClearedError;
using testing::contains;
using testing::DeviceArray;
using testing::LateStream;
using testing::launch;
using Values = std::vector<int>;

__global__ void copy_kernel(int* y, const int* x) {
  y[threadIdx.x] = x[threadIdx.x];
}
__global__ void add_kernel(int* y, int value) {
  y[threadIdx.x] += value;
}
__global__ void stuck_kernel() {
  if (threadIdx.x == 0) __syncthreads();
}

class Event {
 public:
  explicit Event(unsigned flags = cudaEventDisableTiming) {
    REQUIRE(cudaEventCreateWithFlags(&event_, flags) == cudaSuccess);
  }
  Event(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class Pinned {
 public:
  explicit Pinned(const Values& values) {
    REQUIRE(cudaMallocHost(&data_, values.size() * sizeof(int)) == cudaSuccess);
    std::copy(values.begin(), values.end(), data_);
  }
  Pinned(const Pinned&) = delete;
  ~Pinned() { cudaFreeHost(data_); }
  int* data() const { return data_; }

 private:
  int* data_ = nullptr;
};

// A batch arrives on a late stream, and a kernel on another stream uses it.
Values use_batch(bool wait) {
  const LateStream copy;
  const Event arrived;
  const Pinned host(Values{1, 2, 3, 4});
  const DeviceArray<int> batch(Values(4, -7)), result(4);
  CHECK(cudaMemcpyAsync(batch.data(), host.data(), batch.bytes(), cudaMemcpyHostToDevice, copy) ==
        cudaSuccess);
  CHECK(cudaEventRecord(arrived, copy) == cudaSuccess);
  if (wait) CHECK(cudaStreamWaitEvent(nullptr, arrived) == cudaSuccess);
  CHECK(launch({1, 4}, copy_kernel, result.data(), batch.data()) == cudaSuccess);
  return result.now();
}

TEST_CASE("cuda simulator: a stream that does not wait for another sees stale data") {
  CHECK(use_batch(true) == Values{1, 2, 3, 4});
  CHECK(use_batch(false) == Values(4, -7));
}

// A host buffer is filled again as soon as the copy was asked for, or has ended.
Values reuse_buffer(bool wait) {
  const LateStream copy;
  const Event arrived;
  const Pinned host(Values{1, 2, 3, 4});
  const DeviceArray<int> batch(4);
  CHECK(cudaMemcpyAsync(batch.data(), host.data(), batch.bytes(), cudaMemcpyHostToDevice, copy) ==
        cudaSuccess);
  CHECK(cudaEventRecord(arrived, copy) == cudaSuccess);
  if (wait) CHECK(cudaEventSynchronize(arrived) == cudaSuccess);
  std::fill_n(host.data(), 4, 9);
  CHECK(cudaStreamSynchronize(copy) == cudaSuccess);
  return batch.now();
}

TEST_CASE("cuda simulator: a pinned buffer is read late, one that is not pinned at once") {
  CHECK(reuse_buffer(true) == Values{1, 2, 3, 4});
  CHECK(reuse_buffer(false) == Values{9, 9, 9, 9});

  const LateStream copy;
  const DeviceArray<int> batch(Values(4, -7));
  Values host{1, 2, 3, 4};
  CHECK(cudaMemcpyAsync(batch.data(), host.data(), batch.bytes(), cudaMemcpyHostToDevice, copy) ==
        cudaSuccess);
  host.assign(4, 9);
  CHECK(batch.now() == Values(4, -7));  // not yet
  CHECK(cudaMemcpyAsync(host.data(), batch.data(), batch.bytes(), cudaMemcpyDeviceToHost, copy) ==
        cudaSuccess);
  CHECK(host == Values{1, 2, 3, 4});
}

TEST_CASE("cuda simulator: the other choice of streams shows memory that is overwritten while in use") {
  for (const bool wait : {true, false}) {
    const LateStream late;
    const Event consumed;
    const DeviceArray<int> batch(Values(4, 1)), result(4);
    CHECK(launch({1, 4, 0, late}, copy_kernel, result.data(), batch.data()) == cudaSuccess);
    CHECK(cudaEventRecord(consumed, late) == cudaSuccess);
    if (wait) CHECK(cudaStreamWaitEvent(nullptr, consumed) == cudaSuccess);
    CHECK(cudaMemsetAsync(batch.data(), 0, batch.bytes(), nullptr) == cudaSuccess);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    CHECK(result.now() == Values(4, wait ? 1 : 0));
  }
  // With the first stream behind, all others work at once.
  const LateStream other;
  simulator::set_streams(simulator::Streams::first_behind);
  const DeviceArray<int> y(Values{0});
  CHECK(launch({1, 1, 0, other}, add_kernel, y.data(), 5) == cudaSuccess);
  CHECK(y.now() == Values{5});
  simulator::set_streams(simulator::Streams::first_ahead);
}

TEST_CASE("cuda simulator: arguments are copied at the launch; questions make a late stream go on") {
  const LateStream late;
  const Event done(cudaEventDefault), start(cudaEventDefault), never;
  const DeviceArray<int> y(Values{1});
  int value = 10;
  CHECK(cudaEventRecord(start, late) == cudaSuccess);
  CHECK(launch({1, 1, 0, late}, add_kernel, y.data(), value) == cudaSuccess);
  value = 1000;
  CHECK(cudaEventRecord(done, late) == cudaSuccess);
  CHECK(y.now() == Values{1});
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, start, done) == cudaErrorNotReady);
  CHECK(cudaEventQuery(done) == cudaErrorNotReady);
  CHECK(y.now() == Values{1});
  CHECK(cudaEventQuery(done) == cudaSuccess);
  CHECK(y.now() == Values{11});
  CHECK(cudaEventElapsedTime(&milliseconds, start, done) == cudaSuccess);
  CHECK(milliseconds >= 0);
  CHECK(cudaEventQuery(never) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, start, never) == cudaErrorInvalidResourceHandle);

  CHECK(launch({1, 1, 0, late}, add_kernel, y.data(), 1) == cudaSuccess);
  CHECK(cudaStreamQuery(late) == cudaErrorNotReady);
  CHECK(cudaStreamQuery(late) == cudaSuccess);
  CHECK(y.now() == Values{12});
  CHECK(cudaGetLastError() == cudaErrorNotReady);  // as on a GPU
  CHECK(cudaStreamSynchronize(reinterpret_cast<cudaStream_t>(&value)) == cudaErrorInvalidResourceHandle);
}

TEST_CASE("cuda simulator: freeing memory waits for what uses it") {
  const LateStream late;
  const Pinned host(Values{0});
  int* x = nullptr;
  CHECK(cudaMalloc(&x, sizeof(int)) == cudaSuccess);
  CHECK(cudaMemsetAsync(x, 0x11, sizeof(int), late) == cudaSuccess);
  CHECK(cudaMemcpyAsync(host.data(), x, sizeof(int), cudaMemcpyDeviceToHost, late) == cudaSuccess);
  CHECK(*host.data() == 0);
  CHECK(cudaFree(x) == cudaSuccess);
  CHECK(*host.data() == 0x11111111);
}

TEST_CASE("cuda simulator: a kernel that fails late is told of at the next wait") {
  const ClearedError cleared;
  const LateStream late;
  const DeviceArray<int> y(Values{1});
  CHECK(launch({1, 32, 0, late}, stuck_kernel) == cudaSuccess);
  CHECK(launch({1, 1, 0, late}, add_kernel, y.data(), 1) == cudaSuccess);
  CHECK(cudaStreamSynchronize(late) == cudaErrorLaunchFailure);
  CHECK(contains(cudaGetErrorString(cudaErrorLaunchFailure), "stuck_kernel()"));
  simulator::clear_error();
  CHECK(y.now() == Values{1});  // what came after it did not run
}

cudaGraphExec_t end_capture(cudaStream_t stream, size_t expected_nodes) {
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  size_t nodes = 0;
  CHECK(cudaGraphGetNodes(graph, nullptr, &nodes) == cudaSuccess);
  CHECK(nodes == expected_nodes);
  cudaGraphExec_t exec = nullptr;
  CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  return exec;
}

TEST_CASE("cuda simulator: a capture records and runs nothing, its graph runs as often as it is launched") {
  const LateStream stream;
  const DeviceArray<int> x(Values{3}), y(Values{0});
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusInvalidated;
  CHECK(cudaStreamIsCapturing(stream, &status) == cudaSuccess);
  CHECK(status == cudaStreamCaptureStatusNone);
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(cudaStreamIsCapturing(stream, &status) == cudaSuccess);
  CHECK(status == cudaStreamCaptureStatusActive);
  CHECK(launch({1, 1, 0, stream}, add_kernel, x.data(), 2) == cudaSuccess);
  CHECK(cudaMemcpyAsync(y.data(), x.data(), 4, cudaMemcpyDeviceToDevice, stream) == cudaSuccess);
  CHECK(launch({1, 1, 0, stream}, add_kernel, y.data(), 100) == cudaSuccess);
  CHECK(cudaMemsetAsync(x.data(), 0, 0, stream) == cudaSuccess);
  void* meanwhile = nullptr;
  CHECK(cudaMalloc(&meanwhile, 16) == cudaSuccess);  // a relaxed capture allows it
  CHECK(cudaFree(meanwhile) == cudaSuccess);
  const cudaGraphExec_t exec = end_capture(stream, 4);
  CHECK(x.now() == Values{3});
  simulator::reset_statistics();
  for (int round = 1; round <= 2; ++round) {
    CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
    CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
    CHECK(x.now() == Values{3 + 2 * round});
    CHECK(y.now() == Values{103 + 2 * round});
  }
  CHECK(simulator::statistics().graph_launches == 2);
  CHECK(simulator::statistics().launches == 4);
  CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
  CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);  // what was launched still runs
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(x.now() == Values{9});
}

// What f(stream) returns in the middle of a capture, and whether the capture survives it.
template <class F>
std::pair<cudaError_t, cudaError_t> in_capture(cudaStreamCaptureMode mode, F&& f) {
  const LateStream stream;
  CHECK(cudaStreamBeginCapture(stream, mode) == cudaSuccess);
  const cudaError_t inside = f(stream);
  cudaGraph_t graph = nullptr;
  const cudaError_t end = cudaStreamEndCapture(stream, &graph);
  CHECK((graph != nullptr) == (end == cudaSuccess));
  if (graph) cudaGraphDestroy(graph);
  return {inside, end};
}

TEST_CASE("cuda simulator: what a capture forbids spoils it") {
  const auto spoilt = std::pair(cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated);
  const auto fine = std::pair(cudaSuccess, cudaSuccess);
  const auto allocate = [](cudaStream_t) {
    void* memory = nullptr;
    const cudaError_t error = cudaMalloc(&memory, 16);
    if (memory) CHECK(cudaFree(memory) == cudaSuccess);
    return error;
  };
  const DeviceArray<int> y(Values{1});
  const Event before;
  CHECK(cudaEventRecord(before) == cudaSuccess);
  const auto synchronize = [](cudaStream_t stream) { return cudaStreamSynchronize(stream); };
  const auto copy = [&](cudaStream_t) { return cudaMemset(y.data(), 0, 4); };
  const auto device = [](cudaStream_t) { return cudaDeviceSynchronize(); };
  const auto wait = [&](cudaStream_t stream) { return cudaStreamWaitEvent(stream, before); };
  const auto query = [](cudaStream_t stream) {
    const Event event;
    CHECK(cudaEventRecord(event, stream) == cudaSuccess);
    return cudaEventQuery(event);
  };
  CHECK(in_capture(cudaStreamCaptureModeGlobal, [](cudaStream_t) { return cudaSuccess; }) == fine);
  CHECK(in_capture(cudaStreamCaptureModeRelaxed, allocate) == fine);
  CHECK(in_capture(cudaStreamCaptureModeRelaxed, copy) == fine);
  for (const auto mode : {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal}) {
    CHECK(in_capture(mode, allocate) == spoilt);
    CHECK(in_capture(mode, copy) == spoilt);
  }
  for (const auto mode : {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeRelaxed}) {
    CHECK(in_capture(mode, synchronize) == spoilt);
    CHECK(in_capture(mode, device) == spoilt);
    CHECK(in_capture(mode, query) == std::pair(cudaErrorCapturedEvent, cudaSuccess));
    CHECK(in_capture(mode, wait) ==
          std::pair(cudaErrorStreamCaptureIsolation, cudaErrorStreamCaptureInvalidated));
  }
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeRelaxed) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamEndCapture(LateStream(), &graph) == cudaErrorIllegalState);
}

TEST_CASE("cuda simulator: another stream joins a capture through an event, and must be waited for") {
  const LateStream stream, branch;
  const Event fork, join;
  const DeviceArray<int> y(Values{1});
  // Waited for once; never; once, whereupon the branch goes on.
  for (const int waits : {1, 0, 2}) {
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK(cudaEventRecord(fork, stream) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(branch, fork) == cudaSuccess);
    CHECK(launch({1, 1, 0, branch}, add_kernel, y.data(), 1) == cudaSuccess);
    CHECK(cudaEventRecord(join, branch) == cudaSuccess);
    if (waits > 0) CHECK(cudaStreamWaitEvent(stream, join) == cudaSuccess);
    if (waits == 2) CHECK(launch({1, 1, 0, branch}, add_kernel, y.data(), 1) == cudaSuccess);
    if (waits == 1) {
      const cudaGraphExec_t exec = end_capture(stream, 1);
      CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
      CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
      CHECK(y.now() == Values{2});
      CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
    } else {
      cudaGraph_t graph = nullptr;
      CHECK(cudaStreamEndCapture(branch, &graph) == cudaErrorStreamCaptureUnmatched);
      CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureUnjoined);
      CHECK(graph == nullptr);
    }
    CHECK(cudaStreamSynchronize(branch) == cudaSuccess);  // both streams work again
  }
}

}  // namespace
}  // namespace tandem
#endif
