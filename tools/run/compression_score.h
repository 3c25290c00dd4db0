// Scores the files that prune and quantize write: size of the weights, and loss on held-out text of the
// training run.
#pragma once
#include <cstdint>
#include <string>

#include "tandem/core/device.h"
#include "tandem/data/corpus.h"
#include "tandem/models/training/run_config.h"
#include "tandem/tools/run/flags.h"

namespace tandem {

struct ScoringOptions {
  std::string split = "dev";
  int64_t batch_size = 0;  // columns that the text is cut into; 0: as in evaluations of the training run
  int64_t limit = 0;       // tokens to score, from the beginning of the split; 0: as in the run
  std::string device = "auto";
  CorpusOptions corpus;  // an empty name: the run's corpus. Its split fractions are the run's.
};

// Adds --split, --batch-size, --limit, --device, --corpus, --url and --data-dir. `options` must outlive the
// parsing.
void add_scoring_flags(Flags& flags, ScoringOptions& options);

struct CompressionScore {
  std::string label;  // "f32", "8 bits", "60 % pruned"
  int64_t parameters = 0, nonzero = 0;
  int64_t bytes = 0;  // size of the weights in the file
  double nats = 0;    // mean loss of a token
};

class CompressionScorer {
 public:
  // Reads the text of the run, with the model's vocabulary. Error: load_corpus() fails; the text is another one; the
  // split has no token to predict.
  CompressionScorer(const ScoringOptions& options, const Vocabulary& vocabulary, const RunConfig& run);

  Device device() const { return device_; }
  const Corpus& corpus() const { return corpus_; }
  // Loads a file in f32, as evaluate does, and scores the text.
  CompressionScore score(const std::string& label, const std::string& path) const;

  void print_start() const;  // the lines that name the device and the text
  void print_head() const;   // the head of the table
  void print_row(const CompressionScore& score) const;

 private:
  // Returns the bits per byte of a mean loss as a column of the table; nothing unless the tokens are subwords.
  std::string per_byte(double nats) const;

  ScoringOptions options_;
  Device device_;
  Corpus corpus_;
  int64_t batch_size_ = 1;
  Tokens tokens_;
  double bytes_per_token_ = 0;  // of the tokens that are scored, for subwords
};

}  // namespace tandem
