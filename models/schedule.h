// Schedule: the learning rate of each update as a pure function of its number.
#pragma once
#include <cstdint>
#include <string>

namespace tandem {

struct ScheduleConfig {
  std::string kind = "cosine";  // or "linear" (to zero), or "constant"
  double lr = 3e-4;             // at the end of the warm-up
  int64_t warmup = 0;           // updates over which the rate rises linearly
  int64_t steps = 0;            // updates in all; "constant" does not ask for them
};

class Schedule {
 public:
  // Error: unknown kind; a rate that is not finite or is negative; a negative warm-up; cosine or linear with
  // steps < 1 or with a warm-up longer than they are.
  explicit Schedule(ScheduleConfig config);

  const ScheduleConfig& config() const { return config_; }

  // Rate of update `step`, counted from 0. With W = warmup and N = steps it is lr (step + 1) / W while step <
  // W, then
  //
  //     cosine    lr (1 + cos(pi step / N)) / (1 + cos(pi (W - 1) / N)), and without warm-up lr (1 + cos(pi
  //     step / N)) / 2 linear    lr (N - step) / (N - W) constant  lr
  //
  // and 0 from step N on, except for constant. The cosine is what the SRU++ authors' training had in effect:
  // PyTorch's recursive form, which goes on from whatever the warm-up left; it lies slightly above the
  // textbook cosine. Loshchilov and Hutter, "SGDR" (2017). Error: a negative step.
  double lr(int64_t step) const;

 private:
  ScheduleConfig config_;
};

}  // namespace tandem
