// BatchCopy: copies batches of ids to the GPU over the copy stream while the previous step is still being
// computed.
#pragma once
#include <cstdint>
#include <memory>
#include <span>

#include "tandem/core/tensor.h"

namespace tandem::cuda {

class BatchCopy {
 public:
  // `ids` is the number of ids of every batch.
  explicit BatchCopy(int64_t ids);
  ~BatchCopy();
  BatchCopy(const BatchCopy&) = delete;
  BatchCopy& operator=(const BatchCopy&) = delete;

  // Copies ids to y, an i32 tensor, for the work that is enqueued on the compute stream from now on; `ids`
  // may be overwritten at once. The host waits only when it is kSlots batches ahead of the copies.
  void send(const Tensor& y, std::span<const int32_t> ids);

 private:
  static constexpr int kSlots = 4;
  struct Slot;
  int64_t ids_;
  std::unique_ptr<Slot[]> slots_;
  int next_ = 0;
};

}  // namespace tandem::cuda
