// The kernels of patterns.h. They are compiled as cuda/*.cu are to be counted.
#include "tests/cuda/traffic/patterns.h"

#include "tandem/cuda/device/kernel.cuh"

namespace tandem::testing {
namespace {

using cuda::launch;

constexpr int kShared = 32 * 32;

__global__ void copy_strided_kernel(float* y, const float* x, int64_t stride) {
  y[threadIdx.x] = x[threadIdx.x * stride];
}

__global__ void read_twice_kernel(float* y, const float* x) {
  const float first = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = first + x[threadIdx.x];
}

__global__ void read_one_kernel(float* y, const float* x) {
  y[threadIdx.x] = x[0];
}

__global__ void copy_vectors_kernel(float* y, const float* x) {
  cuda::store_vector(y + 4 * threadIdx.x, cuda::load_vector<float, 4>(x + 4 * threadIdx.x));
}

__global__ void static_shared_kernel(float* y, int stride) {
  __shared__ float words[kShared];
  words[threadIdx.x * stride] = static_cast<float>(threadIdx.x);
  __syncthreads();
  y[threadIdx.x] = words[threadIdx.x * stride];
}

__global__ void dynamic_shared_kernel(float* y, int stride) {
  float* const words = cuda::dynamic_shared<float>();
  words[threadIdx.x * stride] = static_cast<float>(threadIdx.x);
  __syncthreads();
  y[threadIdx.x] = words[threadIdx.x * stride];
}

__global__ void loop_unevenly_kernel(float* y, const float* x) {
  float sum = 0;
  for (unsigned i = 0; i < threadIdx.x % 4; ++i) sum += x[i];
  y[threadIdx.x] = sum + x[3];
}

__global__ void increment_kernel(unsigned* counter) {
  atomicAdd(counter, 1u);
}

}  // namespace

void copy_strided(float* y, const float* x, unsigned threads, int64_t stride) {
  launch(copy_strided_kernel, 1, threads, 0, nullptr, y, x, stride);
}
void read_twice(float* y, const float* x, unsigned threads) {
  launch(read_twice_kernel, 1, threads, 0, nullptr, y, x);
}
void read_one(float* y, const float* x, unsigned threads) {
  launch(read_one_kernel, 1, threads, 0, nullptr, y, x);
}
void copy_vectors(float* y, const float* x, unsigned threads) {
  launch(copy_vectors_kernel, 1, threads, 0, nullptr, y, x);
}
void use_shared(float* y, int stride, bool dynamic) {
  if (dynamic)
    launch(dynamic_shared_kernel, 1, 32, kShared * sizeof(float), nullptr, y, stride);
  else
    launch(static_shared_kernel, 1, 32, 0, nullptr, y, stride);
}
void loop_unevenly(float* y, const float* x) {
  launch(loop_unevenly_kernel, 1, 32, 0, nullptr, y, x);
}
void increment(unsigned* counter) {
  launch(increment_kernel, 1, 32, 0, nullptr, counter);
}

}  // namespace tandem::testing
