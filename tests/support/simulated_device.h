// For tests of the CUDA simulator: arrays of its device, launches, and what each order of the threads gives.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <initializer_list>
#include <utility>
#include <vector>

#include "tandem/core/backend.h"
#include "tandem/cuda/simulator/cuda_runtime.h"
#include "tandem/cuda/simulator/simulator.h"

namespace tandem::testing {

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size) : size_(size) { REQUIRE(cudaMalloc(&data_, bytes()) == cudaSuccess); }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    REQUIRE(cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  DeviceArray(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* data() const { return data_; }
  size_t bytes() const { return size_ * sizeof(T); }
  // What lies there now: work of other streams is not waited for.
  std::vector<T> now() const {
    std::vector<T> values(size_);
    REQUIRE(cudaMemcpy(values.data(), data_, bytes(), cudaMemcpyDeviceToHost) == cudaSuccess);
    return values;
  }

 private:
  T* data_ = nullptr;
  size_t size_;
};

struct Shape {
  dim3 grid, block;
  size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
};

template <class... Parameters, class... Arguments>
cudaError_t launch(const Shape& shape, void (*kernel)(Parameters...), Arguments&&... arguments) {
  const cudaLaunchConfig_t config{shape.grid, shape.block, shape.shared_bytes, shape.stream, nullptr, 0};
  return cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
}

// The results of f() in every order of the threads.
template <class F>
auto in_each_order(F&& f) {
  std::vector<decltype(f())> results;
  simulator::for_each_order([&] { results.push_back(f()); });
  return results;
}

template <class T>
bool all_equal(const std::vector<T>& values) {
  return std::all_of(values.begin(), values.end(), [&](const T& value) { return value == values.front(); });
}

// A stream that works late, on which Tandem's own work is not: its compute stream is made before.
class LateStream {
 public:
  LateStream() {
    cuda::allocator();
    simulator::set_streams(simulator::Streams::first_ahead);
    REQUIRE(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking) == cudaSuccess);
  }
  LateStream(const LateStream&) = delete;
  ~LateStream() { cudaStreamDestroy(stream_); }
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// A failure of the device ends with the test that wanted it.
struct ClearedError {
  ~ClearedError() { simulator::clear_error(); }
};

}  // namespace tandem::testing
