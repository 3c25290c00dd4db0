// A training run in a folder: the loop around the trainer, with evaluations, checkpoints, metrics, samples
// and, at the end, the score of the best weights on the test split.
#pragma once
#include <filesystem>
#include <vector>

#include "tandem/data/corpus.h"
#include "tandem/models/training/trainer.h"
#include "tandem/tools/run/progress.h"
#include "tandem/tools/run/run_folder.h"

namespace tandem {

struct RunOptions {
  std::filesystem::path folder;  // of rank 0, locked by the caller's RunFolder
  int64_t max_steps = 0;         // stop after this many steps in all; 0: after the recipe's
  double max_seconds = 0;        // stop after this time; 0: no limit
  int64_t log_every = 10;        // steps between plain progress lines
  int64_t sample_tokens = 400;  // length of samples, but for the first of a run without sample_every; 0: none
  // Shares of <unk> in the train, dev and test split, which the metrics tell of texts of words; empty: not told.
  std::vector<double> unknown_shares;
  std::filesystem::path tensorboard;  // folder for event files of TensorBoard; empty: none
  double peak_tflops = 0;             // of the device in the run's precision, for the MFU; 0: unknown, no MFU
};

enum class RunEnd { done, stopped_by_signal };

// Trains until the recipe is done, RunConfig::early_stop evaluations in a row were no better than the best, a limit is
// reached or a signal of StopSignals arrives. Writes the last checkpoint at every evaluation and at the end, whatever the
// reason, and keeps the checkpoint with the lowest dev loss, and RunConfig::keep others. Unless a signal ended the run, the
// best weights are then scored on the test split (if RunConfig::test) and continue its first line (if `sample_tokens`), as
// the weights on the way do every RunConfig::sample_every steps.
//
// A run that was stopped, in whatever way, and resumed ends with the files of a run that never stopped. So a stop adds no
// evaluation to those that are due: a limit scores the weights that it finds only for the user, a signal not at all.
// A run that is done already is left as it is.
//
// All ranks of the trainer must call it. Rank 0 alone writes, prints, scores the test split and samples; a signal at any
// rank stops all after the same step.
// Errors: weights that are not finite, which are not saved; a file that cannot be written; early_stop without a dev split.
RunEnd run_training(Trainer& trainer, const Corpus& corpus, const RunOptions& options);

// Returns what the progress lines of a run need to know.
ProgressOptions progress_options(const Trainer& trainer, const RunOptions& options);

}  // namespace tandem
