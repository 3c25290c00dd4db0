// A training run in a folder: the loop around the trainer, with evaluations, checkpoints, metrics, samples
// and a last word on the test split.
#pragma once
#include <filesystem>

#include "data/corpus.h"
#include "models/training/trainer.h"

namespace tandem {

struct RunOptions {
  std::filesystem::path folder;  // holds last.safetensors, best.safetensors and metrics.jsonl
  int64_t max_steps = 0;         // stop after this many steps in all; 0: the recipe's
  double max_seconds = 0;        // stop when this run has taken so long; 0: no limit
  int64_t log_every = 10;        // steps between plain progress lines
  int64_t sample_tokens = 400;   // of the paragraph at the end; 0: none
  bool test = true;              // score the test split at the end
  double peak_tflops = 0;        // of the device in the run's precision, for the MFU; 0: not shown
};

inline constexpr const char* kLastCheckpoint = "last.safetensors";
inline constexpr const char* kBestCheckpoint = "best.safetensors";

enum class RunEnd { done, stopped_by_signal };

// Trains until the recipe, a limit or SIGINT/SIGTERM ends it. The last checkpoint is written at every
// evaluation and at the end, whatever the reason; the best by dev loss is kept beside it. Unless a signal
// ended the run, the best weights are then scored on the test split, if so asked, and continue a line of it.
RunEnd run_training(Trainer& trainer, const Corpus& corpus, const RunOptions& options);

}  // namespace tandem
