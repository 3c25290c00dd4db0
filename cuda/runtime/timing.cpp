// Two events around the work.
#include "tandem/cuda/runtime/timing.h"

#include "tandem/cuda/runtime/context.h"

namespace tandem::cuda {
namespace {

class Event {
 public:
  Event() { TANDEM_CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventDefault)); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record() const { TANDEM_CUDA_CHECK(cudaEventRecord(event_, compute_stream())); }
  double ms_until(const Event& later) const {
    TANDEM_CUDA_CHECK(cudaEventSynchronize(later.event_));
    float ms = 0;
    TANDEM_CUDA_CHECK(cudaEventElapsedTime(&ms, event_, later.event_));
    return ms;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

double time_ms(const std::function<void()>& enqueue) {
  const Event begin, end;
  begin.record();
  enqueue();
  end.record();
  return begin.ms_until(end);
}

}  // namespace tandem::cuda
