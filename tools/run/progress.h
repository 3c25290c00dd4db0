// Progress: one live line on a terminal, plain lines now and then in a file.
#pragma once
#include <string>

#include "models/training/trainer.h"

namespace tandem {

struct ProgressOptions {
  int64_t every = 10;                 // steps between plain lines
  Device device;                      // whose memory is shown
  TokenUnit level = TokenUnit::byte;  // of the loss: bits per character or perplexity
  // Model FLOPs utilisation is shown where both are known.
  double flops_per_token = 0;  // of training
  double peak_flops = 0;       // a second, of the device
};

class Progress {
 public:
  // Prints plain lines; on a terminal a live line as well.
  Progress(int64_t first_step, int64_t last_step, const ProgressOptions& options);

  // After a step that took `ms`; the averages printed are over the steps since the last line.
  void step(const StepRecord& record, double ms);
  // Prints a message of its own, below what stands there.
  void say(const std::string& message);

 private:
  std::string line(const StepRecord& record) const;
  double seconds_since_start() const;

  int64_t first_step_, last_step_;
  ProgressOptions options_;
  bool terminal_;
  double start_;
  double last_drawn_ = 0;
  bool live_ = false;  // a live line stands on the screen
  double loss_sum_ = 0, ms_sum_ = 0;
  int64_t tokens_ = 0, steps_ = 0;
};

// Memory held at most so far: by tensors on a GPU; by the whole process on a CPU. In bytes.
int64_t peak_memory_bytes(Device device);

}  // namespace tandem
