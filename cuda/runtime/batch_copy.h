// BatchCopy: batches of ids on their way to the GPU, over the copy stream, while the step before is still
// computed.
#pragma once
#include <cstdint>
#include <memory>
#include <span>

#include "core/tensor.h"

namespace tandem::cuda {

class BatchCopy {
 public:
  // For batches of so many ids.
  explicit BatchCopy(int64_t ids);
  ~BatchCopy();
  BatchCopy(const BatchCopy&) = delete;
  BatchCopy& operator=(const BatchCopy&) = delete;

  // y = ids, for work that is enqueued on the compute stream from now on; `ids` may change at once. The host
  // waits only when it is kSlots batches ahead of the copies. y is i32 of that many ids.
  void send(const Tensor& y, std::span<const int32_t> ids);

 private:
  static constexpr int kSlots = 4;
  struct Slot;
  int64_t ids_;
  std::unique_ptr<Slot[]> slots_;
  int next_ = 0;
};

}  // namespace tandem::cuda
