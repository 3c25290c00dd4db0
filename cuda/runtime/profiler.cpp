// The runtime's calls that start and stop a profiler. They fail where none can be started, which is no concern of the work.
#include "tandem/cuda/runtime/profiler.h"

#include <cuda_profiler_api.h>

#include "tandem/cuda/runtime/context.h"

namespace tandem::cuda {

ProfiledRange::ProfiledRange() {
  context();
  if (cudaProfilerStart() != cudaSuccess) cudaGetLastError();
}

ProfiledRange::~ProfiledRange() {
  cudaDeviceSynchronize();  // what is still enqueued belongs to the range; an error comes back at the next call
  if (cudaProfilerStop() != cudaSuccess) cudaGetLastError();
}

}  // namespace tandem::cuda
