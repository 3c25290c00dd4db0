// The GPU's memory, from which the caching allocator takes its segments.
#include "tandem/core/backend.h"
#include "tandem/core/caching_allocator.h"
#include "tandem/cuda/runtime/context.h"

namespace tandem::cuda {
namespace {

class CudaMemory final : public MemorySource {
 public:
  CudaMemory() {
    size_t free = 0;
    context();  // sets the device
    TANDEM_CUDA_CHECK(cudaMemGetInfo(&free, &total_));
  }

  std::string name() const override { return "cuda:0"; }
  size_t total_bytes() const override { return total_; }

  void* acquire(size_t bytes) override {
    void* segment = nullptr;
    const cudaError_t status = cudaMalloc(&segment, bytes);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return nullptr;
    }
    TANDEM_CUDA_CHECK(status);
    return segment;
  }
  // cudaFree waits for the whole device, so work that still uses the segment ends first.
  void release(void* segment, size_t) override { cudaFree(segment); }

  Event record(StreamId stream) override {
    cudaEvent_t event = nullptr;
    TANDEM_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    TANDEM_CUDA_CHECK(cudaEventRecord(event, stream_of(stream)));
    return event;
  }
  bool done(Event event) override {
    const cudaError_t status = cudaEventQuery(static_cast<cudaEvent_t>(event));
    if (status == cudaErrorNotReady) return false;
    TANDEM_CUDA_CHECK(status);
    return true;
  }
  void wait(Event event) override {
    TANDEM_CUDA_CHECK(cudaEventSynchronize(static_cast<cudaEvent_t>(event)));
  }
  void discard(Event event) override { TANDEM_CUDA_CHECK(cudaEventDestroy(static_cast<cudaEvent_t>(event))); }
  void poison(void* block, size_t bytes, StreamId stream) override {
    TANDEM_CUDA_CHECK(cudaMemsetAsync(block, 0xff, bytes, stream_of(stream)));
  }

 private:
  static cudaStream_t stream_of(StreamId stream) {
    return stream == kCopyStream ? context().copy : context().compute;
  }

  size_t total_ = 0;
};

}  // namespace

CachingAllocator& allocator() {
  // Never destroyed: tensors with static lifetime are freed after this function's statics would be.
  static CachingAllocator& made = *new CachingAllocator(*new CudaMemory, allocator_mode_from_environment());
  return made;
}

}  // namespace tandem::cuda
