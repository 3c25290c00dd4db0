// Progress: one live line on a terminal, plain lines now and then in a file.
#pragma once
#include <string>

#include "tools/support/trainer.h"

namespace tandem {

class Progress {
 public:
  // Prints a plain line every `every` steps; on a terminal a live line as well.
  Progress(int64_t first_step, int64_t last_step, int64_t every);

  // After a step that took `ms`; the averages printed are over the steps since the last line.
  void step(const StepRecord& record, double ms);
  // Prints a message of its own, below what stands there.
  void say(const std::string& message);

 private:
  std::string line(const StepRecord& record) const;
  double seconds_since_start() const;

  int64_t first_step_, last_step_, every_;
  bool terminal_;
  double start_;
  double last_drawn_ = 0;
  bool live_ = false;  // a live line stands on the screen
  double loss_sum_ = 0, ms_sum_ = 0;
  int64_t tokens_ = 0, steps_ = 0;
};

}  // namespace tandem
