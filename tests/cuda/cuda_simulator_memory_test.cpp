// The simulator finds mistakes that are made on purpose: memory that is written out of bounds, not at all, or
// read too early, and calls that a GPU refuses. Each test first passes with the correct kernel.
#include <doctest/doctest.h>

#include "tandem/core/backend.h"
#ifndef TANDEM_CUDA_SIMULATED
TEST_CASE("cuda simulator: its tests run in builds with -DTANDEM_CUDA=SIMULATE alone") {
  // In a simulated build this case means that the tests below were lost.
  CHECK(tandem::cuda_status().name != "simulated GPU");
}
#else
#include <cmath>

#include "tandem/cuda/simulator/fiber.h"
#include "tests/support/errors.h"
#include "tests/support/simulated_device.h"

#ifdef TANDEM_SIMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace tandem {
namespace {

using testing::ClearedError;
using testing::contains;
using testing::DeviceArray;
using testing::launch;

__global__ void fill(float* out, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = 1;
}

TEST_CASE("cuda simulator: a write outside of an allocation is found") {
  const DeviceArray<float> out(100);
  CHECK(launch({4, 32}, fill, out.data(), 100) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(simulator::check_guards() == "");
#ifdef TANDEM_SIMULATOR_ASAN
  // AddressSanitizer would end this process; it watches the same bytes.
  CHECK(__asan_region_is_poisoned(out.data(), 400) == nullptr);
  CHECK(__asan_region_is_poisoned(out.data() + 100, 4) == out.data() + 100);
  CHECK(__asan_region_is_poisoned(out.data() - 1, 4) == out.data() - 1);
#else
  const std::string behind = "device memory of 400 bytes was written out of bounds, at byte 400";
  CHECK(launch({4, 32}, fill, out.data(), 101) == cudaSuccess);
  CHECK(simulator::check_guards() == behind);
  CHECK(simulator::check_guards() == "");  // reported once
  {
    const ClearedError cleared;
    CHECK(launch({4, 32}, fill, out.data(), 101) == cudaSuccess);
    CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
    CHECK(simulator::last_message() == behind);
    CHECK(launch({4, 32}, fill, out.data(), 100) == cudaErrorIllegalAddress);
  }
  float* freed = nullptr;
  CHECK(cudaMalloc(&freed, 400) == cudaSuccess);
  CHECK(launch({1, 32}, fill, freed - 2, 2) == cudaSuccess);
  const ClearedError cleared;
  CHECK(cudaFree(freed) == cudaErrorIllegalAddress);
  CHECK(contains(simulator::last_message(), "at byte -8"));
#endif
}

TEST_CASE("cuda simulator: an output that was not written, and one that was read too early, are NaN") {
  const auto is_nan = [](float x) { return std::isnan(x); };
  const DeviceArray<float> all(100), part(100);
  CHECK(launch({4, 32}, fill, all.data(), 100) == cudaSuccess);
  CHECK(launch({3, 32}, fill, part.data(), 100) == cudaSuccess);  // a block too few
  const auto right = all.now(), wrong = part.now();
  CHECK(std::count_if(right.begin(), right.end(), is_nan) == 0);
  CHECK(std::count_if(wrong.begin(), wrong.end(), is_nan) == 4);
}

__global__ void fill_shared(float* out, int n) {
  float* memory = reinterpret_cast<float*>(simulator::dynamic_shared());
  const int i = static_cast<int>(threadIdx.x);
  const float before = memory[0];
  __syncthreads();
#ifdef TANDEM_SIMULATOR_ASAN
  if (i < n && __asan_region_is_poisoned(memory + i, sizeof(float))) return;
#endif
  if (i < n) memory[i] = 0;
  __syncthreads();
  out[i] = before;
}

TEST_CASE("cuda simulator: dynamic shared memory starts as NaN in each block, and is watched") {
  const ClearedError cleared;
  const DeviceArray<float> out(32);
  CHECK(launch({3, 32, 20 * sizeof(float)}, fill_shared, out.data(), 20) == cudaSuccess);
  for (const float x : out.now()) CHECK(std::isnan(x));
  CHECK(launch({3, 32, 20 * sizeof(float)}, fill_shared, out.data(), 21) == cudaErrorLaunchFailure);
#ifndef TANDEM_SIMULATOR_ASAN
  CHECK(contains(simulator::last_message(), "it wrote at byte 80 of its 80 bytes of dynamic shared memory"));
#endif
}

TEST_CASE("cuda simulator: launches that a GPU refuses") {
  const DeviceArray<float> out(1);
  const auto error = [&](dim3 grid, dim3 block, size_t shared = 0) {
    const cudaError_t status = launch({grid, block, shared}, fill, out.data(), 0);
    CHECK(cudaGetLastError() == status);
    CHECK(cudaGetLastError() == cudaSuccess);  // such an error does not stay
    return status;
  };
  CHECK(error(1, {16, 64}, 48 << 10) == cudaSuccess);
  CHECK(error({1, 65535, 1}, 1) == cudaSuccess);
  CHECK(error(0, 32) == cudaErrorInvalidConfiguration);
  CHECK(error(1, 0) == cudaErrorInvalidConfiguration);
  CHECK(error(1, 1025) == cudaErrorInvalidConfiguration);
  CHECK(error(1, {16, 65}) == cudaErrorInvalidConfiguration);
  CHECK(error(1, {1, 1, 65}) == cudaErrorInvalidConfiguration);
  CHECK(error({1, 65536, 1}, 1) == cudaErrorInvalidConfiguration);
  CHECK(error({1, 1, 65536}, 1) == cudaErrorInvalidConfiguration);
  CHECK(error(1, 32, (48 << 10) + 1) == cudaErrorInvalidConfiguration);
  CHECK(cudaFuncSetAttribute(fill, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 << 10) ==
        cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(cudaFuncSetAttribute(fill, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 << 10) == cudaSuccess);
  CHECK(error(1, 32, 227 << 10) == cudaSuccess);
}

TEST_CASE("cuda simulator: device memory ends, and copies and frees are checked") {
  float* y = nullptr;
  size_t free = 0, total = 0;
  CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess);
  const size_t used = total - free;
  simulator::set_memory(used + 1000);
  CHECK(cudaMalloc(&y, 1001) == cudaErrorMemoryAllocation);
  CHECK(y == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaMalloc(&y, 1000) == cudaSuccess);
  size_t left = 1, limit = 0;
  CHECK(cudaMemGetInfo(&left, &limit) == cudaSuccess);
  CHECK(left == 0);
  CHECK(limit == used + 1000);
  simulator::set_memory(total);

  std::vector<float> host(251, 2.0f);
  CHECK(cudaMemcpy(y, host.data(), 1000, cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(cudaMemcpy(y, host.data(), 1004, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(y + 1, host.data(), 1000, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(y, host.data(), 1000, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemset(y, 0, 1000) == cudaSuccess);
  CHECK(cudaMemset(y, 0, 1001) == cudaErrorInvalidValue);
  CHECK(cudaMemset(host.data(), 0, 4) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(host.data(), y, 1000, cudaMemcpyDefault) == cudaSuccess);
  CHECK(host[249] == 0);
  CHECK(host[250] == 2);
  CHECK(cudaFree(y + 1) == cudaErrorInvalidValue);
  CHECK(cudaFree(y) == cudaSuccess);
  CHECK(cudaFree(y) == cudaErrorInvalidValue);
  CHECK(cudaFree(nullptr) == cudaSuccess);
  CHECK(std::string(cudaGetErrorString(cudaGetLastError())) == "invalid argument");
}

}  // namespace
}  // namespace tandem
#endif
