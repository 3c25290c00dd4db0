// Schedule: the learning rate of each update, as a pure function of the update's number.
#pragma once
#include <cstdint>
#include <string>

namespace tandem {

struct ScheduleConfig {
  std::string kind = "cosine";  // or "cosine-cycles", "linear", "exponential", "rsqrt", "noam", "constant"
  double lr = 3e-4;             // rate at the end of the warm-up; noam: the factor before the formula
  double floor = 0;         // cosine-cycles: rate at the end of the first cycle; exponential: the first rate
  int64_t warmup = 0;       // number of updates over which the rate rises linearly
  int64_t steps = 0;        // number of all updates; rsqrt, noam and constant ignore it
  int64_t width = 0;        // noam: the model's width d
  int64_t cycle = 0;        // cosine-cycles: updates of the first cycle; 0: one cycle up to `steps`
  double cycle_growth = 1;  // cosine-cycles: length of each cycle relative to the one before
  double cycle_shrink = 1;  // cosine-cycles: rates of each cycle relative to the one before
};

class Schedule {
 public:
  // Error: an unknown kind; a rate that is not finite or is negative; a negative warm-up; cosine, cosine-cycles,
  // linear or exponential with steps < 1 or with a warm-up longer than `steps`; rsqrt or noam without a warm-up; noam
  // without a width; a negative cycle, a growth below 1 or a shrinking outside (0, 1]; a floor above lr, or for
  // exponential, which has no warm-up, a floor that is not above 0.
  explicit Schedule(ScheduleConfig config);

  const ScheduleConfig& config() const { return config_; }

  // Returns the rate of update `step`, counting from 0. With W = warmup, N = steps and n = step + 1 the rate is
  // lr n / W while step < W, and then
  //
  //     cosine         lr (1 + cos(pi step / N)) / (1 + cos(pi (W - 1) / N)), and without warm-up
  //                    lr (1 + cos(pi step / N)) / 2
  //     cosine-cycles  s floor + s (lr - floor) (1 + cos(pi x)) / 2, with x in [0, 1) the part of its
  //                    cycle that has passed since it began, and s = cycle_shrink^i in cycle i = 0, 1, ...
  //     linear         lr (N - step) / (N - W)
  //     exponential    floor (lr / floor)^(step / (N - 1)), which ends at lr
  //     rsqrt          lr sqrt(W / n)
  //     noam           lr d^-1/2 min(n^-1/2, n W^-3/2), during the warm-up too: rsqrt whose peak is
  //                    lr (d W)^-1/2
  //     constant       lr
  //
  // and 0 from step N on, for kinds that use N. Error: a negative step.
  // The cosine is the one that the SRU++ authors trained with in effect: PyTorch's recursive form, which
  // continues from the last rate of the warm-up and lies slightly above the textbook cosine.
  // Sources: Loshchilov and Hutter, "SGDR" (2017), for both cosines, with cycles as in fairseq; Vaswani et al.,
  // "Attention is all you need" (2017), section 5.3, for noam; Smith, "Cyclical Learning
  // Rates for Training Neural Networks" (2017), for rates that rise to find one.
  double lr(int64_t step) const;

 private:
  double cycle_lr(double since_warmup) const;

  ScheduleConfig config_;
};

}  // namespace tandem
