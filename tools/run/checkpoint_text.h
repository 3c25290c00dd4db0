// The text that a trained model is scored on, read in the same way by every tool.
#pragma once
#include "tandem/data/corpus.h"
#include "tandem/models/training/run_config.h"

namespace tandem {

// Loads a text with the model's vocabulary, and shows on stderr what that takes. If the training run is known (`run` is
// not null) and this is the text that it read, by its digest, it is split as in training, unless options.split_anew.
// If the options name no corpus, the run's is loaded. Error: as load_corpus().
Corpus load_text_for_model(const CorpusOptions& options, const Vocabulary& vocabulary, const RunConfig* run);

// Returns the text of the training run. Error: the file, wherever it is now, holds another text.
Corpus load_trained_text(const CorpusOptions& options, const Vocabulary& vocabulary, const RunConfig& run);

}  // namespace tandem
