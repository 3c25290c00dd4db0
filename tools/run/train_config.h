// From the flags of train to the configuration of a run.
#pragma once
#include "tandem/core/device.h"
#include "tandem/core/ranks.h"
#include "tandem/data/corpus.h"
#include "tandem/models/training/run_config.h"
#include "tandem/tools/run/train_options.h"

namespace tandem {

// Returns the configuration of a new run on this corpus: its preset with what the flags replace, or with --find-lr the one of
// the search for its rate. Error: a wrong --set; a number out of its range; a precision that the device does not have.
RunConfig new_run(const TrainOptions& options, const Corpus& corpus, Device device, const Ranks& ranks);

// Replaces what a run does beside its steps, which may change when it is resumed, by what the flags give.
void override_duties(RunConfig& config, const TrainOptions& options);

// A resumed run keeps its settings: flags of the command line that would change them are refused, not silently ignored.
// Error: UsageError, naming the flag.
void check_resume_flags(const Flags& flags);
// Refuses a setting that the file of --config gives and that the run has with another value. Error: UsageError with both.
void check_resume_file(const Flags& flags, const TrainOptions& options, const RunConfig& config);

}  // namespace tandem
