// Progress of a training run: a live line on a terminal, and plain lines every few steps.
#pragma once
#include <optional>
#include <string>

#include "tandem/models/training/trainer.h"

namespace tandem {

struct ProgressOptions {
  int64_t every = 10;                 // steps between plain lines
  Device device;                      // its memory is shown
  TokenUnit level = TokenUnit::byte;  // byte: losses in bits per character; others: as perplexity
  // Model FLOPs utilisation (MFU) is shown if both are known.
  double flops_per_token = 0;  // that the model needs in training
  double peak_flops = 0;       // of the device, per second
  int64_t eval_every = 0;      // steps between evaluations, whose time the live line tells; 0: it tells none
};

class Progress {
 public:
  Progress(int64_t first_step, int64_t last_step, const ProgressOptions& options);

  // Call it after each step, which took `ms`. Prints a line if one is due, with averages over the steps since
  // the last.
  void step(const StepRecord& record, double ms);
  // Tells the best evaluation so far, which the live line shows, in nats a token.
  void set_best(double dev_nats) { best_dev_nats_ = dev_nats; }
  // Prints a message on a line of its own.
  void say(const std::string& message);

 private:
  std::string line(const StepRecord& record) const;
  // Returns the line that is overwritten: the loss smoothed, the best so far, and when the run and its next evaluation are.
  std::string live_line(const StepRecord& record) const;
  std::string remaining_time(int64_t step) const;
  double seconds_since_start() const;

  int64_t first_step_, last_step_;
  ProgressOptions options_;
  bool terminal_;
  double start_;
  double last_drawn_ = 0;
  bool live_ = false;  // the live line is on the screen
  double loss_sum_ = 0, ms_sum_ = 0, exchange_ms_sum_ = 0;
  int64_t tokens_ = 0, steps_ = 0;
  double smoothed_loss_ = 0, smoothed_ms_ = 0;  // sums whose weights fall by a factor with each step
  double smoothing_weight_ = 0;                 // the sum of these weights
  std::optional<double> best_dev_nats_;
};

// Returns the peak memory so far in bytes: of tensors on a GPU, of the whole process on a CPU.
int64_t peak_memory_bytes(Device device);

}  // namespace tandem
