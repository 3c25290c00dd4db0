// The simulator finds mistakes that are made on purpose: missing barriers and lanes that never arrive. Each test
// first passes with the correct kernel.
#include <doctest/doctest.h>

#include "tandem/core/backend.h"
#ifndef TANDEM_CUDA_SIMULATED
TEST_CASE("cuda simulator: its tests run in builds with -DTANDEM_CUDA=SIMULATE alone") {
  // In a simulated build this case means that the tests below were lost.
  CHECK(tandem::cuda_status().name != "simulated GPU");
}
#else
#include <cmath>
#include <numeric>
#include <thread>

#include "tests/support/errors.h"
#include "tests/support/simulated_device.h"

namespace tandem {
namespace {

using testing::all_equal;
using testing::ClearedError;
using testing::contains;
using testing::DeviceArray;
using testing::in_each_order;
using testing::launch;

constexpr unsigned kAll = 0xffffffffu;

__global__ void write_indices(int* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned index = block * blockDim.x * blockDim.y * blockDim.z + thread;
  out[index] += static_cast<int>(index) + 1;
}

TEST_CASE("cuda simulator: every thread of every block runs once, with its indices") {
  std::vector<int> expected(2 * 3 * 2 * 5 * 4 * 3);
  std::iota(expected.begin(), expected.end(), 1);
  for (const auto& result : in_each_order([&] {
         const DeviceArray<int> out(std::vector<int>(expected.size()));
         CHECK(launch({{2, 3, 2}, {5, 4, 3}}, write_indices, out.data()) == cudaSuccess);
         return out.now();
       }))
    CHECK(result == expected);
}

__global__ void take_tickets(unsigned* counter, unsigned* tickets) {
  tickets[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(counter, 1u);
}

std::vector<unsigned> tickets(simulator::Order order, uint64_t seed = 0) {
  const simulator::Order before = simulator::order();
  simulator::set_order(order, seed);
  const DeviceArray<unsigned> counter(std::vector<unsigned>{0}), out(3 * 96);
  CHECK(launch({3, 96}, take_tickets, counter.data(), out.data()) == cudaSuccess);
  simulator::set_order(before);
  return out.now();
}

TEST_CASE("cuda simulator: the orders are forward, reverse, and shuffled by a seed") {
  std::vector<unsigned> ascending(3 * 96);
  std::iota(ascending.begin(), ascending.end(), 0u);
  CHECK(tickets(simulator::Order::forward) == ascending);
  CHECK(tickets(simulator::Order::reverse) == std::vector<unsigned>(ascending.rbegin(), ascending.rend()));
  std::vector<unsigned> shuffled = tickets(simulator::Order::shuffled, 1);
  CHECK(shuffled == tickets(simulator::Order::shuffled, 1));
  CHECK(shuffled != tickets(simulator::Order::shuffled, 2));
  std::sort(shuffled.begin(), shuffled.end());
  CHECK(shuffled == ascending);
}

// Sums 256 values: each warp's into shared memory, then all of those. Two barriers, either of which may be
// left out: before the sums are read, and before the next round overwrites them.
template <bool kBeforeReading, bool kBeforeWriting>
__global__ void sum_rounds(float* out, const float* in, int rounds) {
  float* parts = reinterpret_cast<float*>(simulator::dynamic_shared());
  for (int round = 0; round < rounds; ++round) {
    float value = in[round * 256 + static_cast<int>(threadIdx.x)];
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(kAll, value, distance);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    if (kBeforeReading) __syncthreads();
    float total = 0;
    for (int warp = 0; warp < 8; ++warp) total += parts[warp];
    out[round * 256 + static_cast<int>(threadIdx.x)] = total;
    if (kBeforeWriting) __syncthreads();
  }
}

template <bool kBeforeReading, bool kBeforeWriting>
std::vector<std::vector<float> > sums_in_each_order() {
  std::vector<float> values(3 * 256);
  std::iota(values.begin(), values.end(), 0.0f);
  const DeviceArray<float> in(values);
  return in_each_order([&] {
    const DeviceArray<float> out(values.size());
    CHECK(launch({1, 256, 8 * sizeof(float)}, sum_rounds<kBeforeReading, kBeforeWriting>, out.data(),
                 in.data(), 3) == cudaSuccess);
    std::vector<float> result = out.now();
    for (float& x : result)
      if (std::isnan(x)) x = -1;  // equal to itself
    return result;
  });
}

TEST_CASE("cuda simulator: a missing __syncthreads shows in the order of the threads") {
  const auto right = sums_in_each_order<true, true>();
  CHECK(all_equal(right));
  for (int round = 0; round < 3; ++round)
    for (int thread = 0; thread < 256; ++thread)
      CHECK(right[0][static_cast<size_t>(round * 256 + thread)] ==
            256 * 255 / 2 + static_cast<float>(round) * 256 * 256);
  CHECK_FALSE(all_equal(sums_in_each_order<false, true>()));
  CHECK_FALSE(all_equal(sums_in_each_order<true, false>()));
}

template <bool kWithBarrier>
__global__ void reverse_in_warp(int* out) {
  int* values = reinterpret_cast<int*>(simulator::dynamic_shared());
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (kWithBarrier) __syncwarp();
  out[threadIdx.x] = values[31 - threadIdx.x];
}

TEST_CASE("cuda simulator: a missing __syncwarp shows in the order of the threads") {
  const auto results = [](auto kernel) {
    return in_each_order([&] {
      const DeviceArray<int> out(32);
      CHECK(launch({1, 32, 32 * sizeof(int)}, kernel, out.data()) == cudaSuccess);
      return out.now();
    });
  };
  CHECK(all_equal(results(reverse_in_warp<true>)));
  CHECK_FALSE(all_equal(results(reverse_in_warp<false>)));
}

template <class T>
__global__ void shuffle_all(T* out) {
  const int lane = static_cast<int>(threadIdx.x);
  const T mine = static_cast<T>(lane + 1);
  out[lane] = __shfl_sync(kAll, mine, 7);
  out[32 + lane] = __shfl_xor_sync(kAll, mine, 5);
  out[64 + lane] = __shfl_down_sync(kAll, mine, 3);
  out[96 + lane] = __shfl_up_sync(kAll, mine, 3);
  // The halves of a warp may diverge, for any number of operations.
  T sum = mine;
  const unsigned half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  for (int distance = lane < 16 ? 8 : 4; distance > 0; distance /= 2)
    sum = static_cast<T>(sum + __shfl_xor_sync(half, sum, distance));
  out[128 + lane] = sum;
}

template <class T>
void check_shuffles() {
  for (const auto& out : in_each_order([] {
         const DeviceArray<T> memory(160);
         CHECK(launch({1, 32}, shuffle_all<T>, memory.data()) == cudaSuccess);
         return memory.now();
       }))
    for (size_t lane = 0; lane < 32; ++lane) {
      CHECK(out[lane] == static_cast<T>(8));
      CHECK(out[32 + lane] == static_cast<T>((lane ^ 5) + 1));
      CHECK(out[64 + lane] == static_cast<T>(lane < 29 ? lane + 4 : lane + 1));
      CHECK(out[96 + lane] == static_cast<T>(lane >= 3 ? lane - 2 : lane + 1));
      // 1..16 in the lower half; in the upper, groups of eight: 17..24 and 25..32.
      CHECK(out[128 + lane] == static_cast<T>(lane < 16 ? 136 : lane < 24 ? 164 : 228));
    }
}

TEST_CASE("cuda simulator: shuffles of every size") {
  check_shuffles<uint8_t>();
  check_shuffles<int16_t>();
  check_shuffles<int>();
  check_shuffles<float>();
  check_shuffles<double>();
  check_shuffles<long long>();
}

__global__ void votes(unsigned* out) {
  const bool odd = threadIdx.x % 2 == 1;
  const unsigned odd_lanes = __ballot_sync(kAll, odd);
  const bool answers = __any_sync(kAll, threadIdx.x == 9) && !__any_sync(kAll, false) &&
                       __all_sync(kAll, true) && !__all_sync(kAll, odd);
  out[threadIdx.x] = odd_lanes + (answers ? 0 : 1);
  if (odd) out[threadIdx.x] += __all_sync(odd_lanes, odd) ? 0 : 1;
}

__global__ void count(unsigned* counters, unsigned long long* total) {
  atomicAdd(counters, 1u);
  atomicMax(counters + 1, blockIdx.x * blockDim.x + threadIdx.x);
  atomicMin(counters + 2, threadIdx.x + 5);
  atomicAdd(total, blockIdx.x);
  if (atomicCAS(counters + 3, 0u, 1u) == 0) atomicExch(counters + 4, 77u);
}

TEST_CASE("cuda simulator: votes, and atomics across blocks") {
  for (const auto& result : in_each_order([] {
         const DeviceArray<unsigned> out(32);
         CHECK(launch({1, 32}, votes, out.data()) == cudaSuccess);
         return out.now();
       }))
    CHECK(result == std::vector<unsigned>(32, 0xaaaaaaaau));
  for (const auto& [counters, total] : in_each_order([] {
         const DeviceArray<unsigned> counters(std::vector<unsigned>{0, 0, 1000, 0, 0});
         const DeviceArray<unsigned long long> total(std::vector<unsigned long long>{0});
         CHECK(launch({10, 64}, count, counters.data(), total.data()) == cudaSuccess);
         return std::pair(counters.now(), total.now());
       })) {
    CHECK(counters == std::vector<unsigned>{640, 639, 5, 1, 77});
    CHECK(total[0] == 45 * 64);
  }
}

__global__ void barrier_for_some(int* out, unsigned some) {
  if (threadIdx.x < some) __syncthreads();
  out[threadIdx.x] = 1;
}
__global__ void shuffle_for_some(int* out, unsigned some, unsigned mask, int source) {
  out[threadIdx.x] = threadIdx.x < some ? __shfl_sync(mask, 1, source) : 0;
}
__global__ void shuffle_by_two_masks(int* out) {
  out[threadIdx.x] = __shfl_sync(threadIdx.x == 0 ? kAll : 0xfffffffeu, 1, 9);
}
__global__ void barrier_or_shuffle(int* out, unsigned some) {
  if (threadIdx.x < some)
    __syncthreads();
  else
    out[threadIdx.x] = __shfl_sync(kAll, 1, 0);
}

// What a failed launch says; everything fails until it is cleared, then everything works.
template <class... Parameters, class... Arguments>
std::string failure_of(dim3 block, void (*kernel)(Parameters...), Arguments... arguments) {
  const ClearedError cleared;
  CHECK(launch({{2, 3}, block}, kernel, arguments...) == cudaErrorLaunchFailure);
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
  CHECK(cudaGetErrorString(cudaErrorLaunchFailure) == simulator::last_message());
  return simulator::last_message();
}

TEST_CASE(
    "cuda simulator: a barrier or warp operation that some never reach names kernel, block and threads") {
  const DeviceArray<int> out(64);
  int* y = out.data();
  CHECK(launch({{2, 3}, 64}, barrier_for_some, y, 64u) == cudaSuccess);
  simulator::set_order(simulator::Order::forward);
  std::string text = failure_of(64, barrier_for_some, y, 40u);
  CHECK(contains(text,
                 "barrier_for_some(int*, unsigned int), block (0, 0, 0) of (2, 3, 1) blocks of (64, 1, 1)"));
  CHECK(contains(text, "40 wait at __syncthreads, first (0, 0, 0); 24 ended, first (40, 0, 0)"));

  CHECK(launch({{2, 3}, 64}, shuffle_for_some, y, 64u, kAll, 3) == cudaSuccess);
  CHECK(launch({1, 32}, shuffle_for_some, y, 16u, 0xffffu, 3) == cudaSuccess);
  text = failure_of(64, shuffle_for_some, y, 16u, kAll, 3);
  CHECK(contains(text,
                 "16 wait in a warp operation (__shfl_sync, mask 0xffffffff), first (0, 0, 0); 48 ended"));
  text = failure_of(64, shuffle_for_some, y, 64u, 0xffffu, 3);
  CHECK(contains(text,
                 "thread (16, 0, 0): __shfl_sync with mask 0x0000ffff, which lacks the caller's lane 16"));
  text = failure_of(32, shuffle_for_some, y, 16u, 0xffffu, 20);
  CHECK(contains(text, "__shfl_sync with mask 0x0000ffff takes from lane 20, which the mask lacks"));
  text = failure_of(32, shuffle_by_two_masks, y);
  CHECK(
      contains(text, "1 wait in a warp operation (__shfl_sync, mask 0xffffffff), first (0, 0, 0); 31 ended"));
  text = failure_of(32, barrier_or_shuffle, y, 5u);
  CHECK(contains(text, "5 wait at __syncthreads, first (0, 0, 0); 27 wait in a warp operation"));

  CHECK(launch({1, 48}, barrier_for_some, y, 0u) == cudaSuccess);
  CHECK(contains(failure_of(48, barrier_for_some, y, 48u), "a multiple of 32 threads"));
  CHECK(launch({{2, 3}, 64}, barrier_for_some, y, 64u) == cudaSuccess);
}

__global__ void sum_of_blocks(float* out) {
  __shared__ float parts[8];
  float value = 1;
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(kAll, value, distance);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0) out[blockIdx.x] = std::accumulate(parts, parts + 8, 0.0f);
}

TEST_CASE("cuda simulator: 2,000 blocks of 256 threads, and several host threads") {
  simulator::reset_statistics();
  const DeviceArray<float> out(2000);
  CHECK(launch({2000, 256}, sum_of_blocks, out.data()) == cudaSuccess);
  CHECK(out.now() == std::vector<float>(2000, 256.0f));
  CHECK(simulator::statistics().launches == 1);
  CHECK(simulator::statistics().blocks == 2000);
  CHECK(simulator::statistics().barriers == 2000 * (8 * 5 + 1));
  CHECK(simulator::statistics().mallocs == 1);

  const DeviceArray<float> shares(400);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] { launch({100, 256}, sum_of_blocks, shares.data() + i * 100); });
  for (std::thread& thread : threads) thread.join();
  CHECK(shares.now() == std::vector<float>(400, 256.0f));
}

}  // namespace
}  // namespace tandem
#endif
