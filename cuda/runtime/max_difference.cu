// Largest differences: by the threads of a block, then of the blocks on the host.
#include "tandem/cuda/runtime/max_difference.h"

#include <cmath>

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

// found (blocks, 2): each block looks at every gridDim.x-th stretch.
template <class T>
__global__ void __launch_bounds__(kMapThreads)
    difference_kernel(double* found, const T* actual, const double* expected, int64_t n) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kMapThreads;
  const Max max;
  double largest = 0, magnitude = 0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x; i < n; i += stride) {
    const double e = expected[i];
    largest = max(largest, fabs(static_cast<double>(static_cast<Compute<T>>(actual[i])) - e));
    magnitude = max(magnitude, fabs(e));
  }
  largest = block_max<kMapThreads>(largest);
  magnitude = block_max<kMapThreads>(magnitude);
  if (threadIdx.x == 0) {
    found[2 * blockIdx.x] = largest - largest == 0 ? largest : INFINITY;  // NaN is no number either
    found[2 * blockIdx.x + 1] = magnitude;
  }
}

}  // namespace

Difference difference(const Tensor& actual, const Tensor& expected) {
  Difference all;
  const int64_t n = expected.numel();
  if (n == 0) return all;
  const unsigned blocks =
      std::min(blocks_for(n, kMapThreads), 8u * static_cast<unsigned>(context().multiprocessors));
  const Tensor found({blocks, 2}, DType::f64, expected.device());
  dispatch_device_float(actual.dtype(), "difference", [&]<class T>() {
    launch(difference_kernel<T>, blocks, kMapThreads, 0, compute_stream(), found.data<double>(),
           actual.data<T>(), expected.data<double>(), n);
  });
  const std::vector<double> parts = found.to_vector<double>();
  for (size_t i = 0; i < parts.size(); i += 2) {
    all.largest = std::max(all.largest, parts[i]);
    all.magnitude = std::max(all.magnitude, parts[i + 1]);
  }
  return all;
}

}  // namespace tandem::cuda
