// A ring of slots, each with pinned host memory, staging memory on the device and two events between the
// streams.
#include "tandem/cuda/runtime/batch_copy.h"

#include <cstring>

#include "tandem/cuda/runtime/context.h"

namespace tandem::cuda {

struct BatchCopy::Slot {
  int32_t* pinned = nullptr;
  int32_t* staged = nullptr;
  cudaEvent_t arrived = nullptr;   // on the copy stream: `staged` holds the batch, `pinned` is free
  cudaEvent_t consumed = nullptr;  // on the compute stream: `staged` is free
};

BatchCopy::BatchCopy(int64_t ids) : ids_(ids), slots_(std::make_unique<Slot[]>(kSlots)) {
  const size_t bytes = static_cast<size_t>(ids) * sizeof(int32_t);
  for (Slot* slot = slots_.get(); slot != slots_.get() + kSlots; ++slot) {
    TANDEM_CUDA_CHECK(cudaMallocHost(reinterpret_cast<void**>(&slot->pinned), bytes));
    TANDEM_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&slot->staged), bytes));
    TANDEM_CUDA_CHECK(cudaEventCreateWithFlags(&slot->arrived, cudaEventDisableTiming));
    TANDEM_CUDA_CHECK(cudaEventCreateWithFlags(&slot->consumed, cudaEventDisableTiming));
  }
}

BatchCopy::~BatchCopy() {
  cudaStreamSynchronize(context().copy);
  cudaStreamSynchronize(context().compute);
  for (Slot* slot = slots_.get(); slot != slots_.get() + kSlots; ++slot) {
    cudaFreeHost(slot->pinned);
    cudaFree(slot->staged);
    cudaEventDestroy(slot->arrived);
    cudaEventDestroy(slot->consumed);
  }
}

void BatchCopy::send(const Tensor& y, std::span<const int32_t> ids) {
  if (y.numel() != ids_ || static_cast<int64_t>(ids.size()) != ids_)
    throw Error("batch copy: made for batches of " + std::to_string(ids_) + " ids, got " +
                std::to_string(ids.size()) + " for a tensor of " + std::to_string(y.numel()));
  const Context& gpu = context();
  Slot& slot = slots_[next_];
  next_ = (next_ + 1) % kSlots;
  TANDEM_CUDA_CHECK(cudaEventSynchronize(slot.arrived));  // an event never recorded counts as passed
  std::memcpy(slot.pinned, ids.data(), ids.size_bytes());
  TANDEM_CUDA_CHECK(cudaStreamWaitEvent(gpu.copy, slot.consumed, 0));
  TANDEM_CUDA_CHECK(
      cudaMemcpyAsync(slot.staged, slot.pinned, ids.size_bytes(), cudaMemcpyHostToDevice, gpu.copy));
  TANDEM_CUDA_CHECK(cudaEventRecord(slot.arrived, gpu.copy));
  TANDEM_CUDA_CHECK(cudaStreamWaitEvent(gpu.compute, slot.arrived, 0));
  TANDEM_CUDA_CHECK(cudaMemcpyAsync(y.data<int32_t>(), slot.staged, ids.size_bytes(),
                                    cudaMemcpyDeviceToDevice, gpu.compute));
  TANDEM_CUDA_CHECK(cudaEventRecord(slot.consumed, gpu.compute));
}

}  // namespace tandem::cuda
