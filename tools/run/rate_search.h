// The search for a learning rate: a short run whose rate rises by one factor a step until the loss goes up. The model is
// not kept. Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), section 3.3.
#pragma once
#include <filesystem>
#include <optional>
#include <vector>

#include "tandem/models/training/trainer.h"
#include "tandem/tools/run/training_run.h"

namespace tandem {

// Returns the run that searches around the rate of `config` in so many steps: from a thousandth of it to a hundred times
// as much.
RunConfig rate_search_config(RunConfig config, int64_t steps);

// The losses of a search, smoothed, and what they say.
class RateCurve {
 public:
  // Adds the loss of the next step, which had this rate. A loss that is not finite ends the search.
  void add(double lr, double loss);
  // Returns whether the loss has gone up again so far that the rates that follow tell nothing.
  bool is_over() const;

  struct Finding {
    double suggested;  // a rate for the peak of a schedule
    double steepest;   // where the loss fell fastest
    double lowest;     // where it was lowest
  };
  // Returns nullopt if the loss has hardly fallen.
  std::optional<Finding> finding() const;
  // Error: no rate was added.
  double last_rate() const { return rates_.at(rates_.size() - 1); }

 private:
  std::vector<double> rates_, losses_;  // losses are smoothed
  double sum_ = 0, weight_ = 0;
  size_t lowest_ = 0;
  bool finite_ = true;
};

// Runs the search of a trainer of rate_search_config() in a folder, writes its metrics there and prints what was found.
// All ranks of the trainer must call it. Error: StoppedBySignal; a file that cannot be written.
void search_rate(Trainer& trainer, const RunOptions& options);

// Writes the page of a folder by tools/report of Tandem's sources and prints where it is, or what is missing for that.
void write_report(const std::filesystem::path& folder);

}  // namespace tandem
