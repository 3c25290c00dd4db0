// What prune and quantize tell of each file that they write: its size, and how well it does on the text that
// the run held out.
#pragma once
#include <cstdint>
#include <string>

#include "core/device.h"
#include "data/corpus.h"
#include "models/training/run_config.h"

namespace CLI {
class App;
}

namespace tandem {

struct ScoringOptions {
  std::string split = "dev";
  int64_t batch_size = 0;  // columns of the text; 0: as in evaluations of the training run
  int64_t limit = 0;       // score only so many bytes; 0: as in the run
  std::string device = "auto";
  CorpusOptions corpus;  // an empty name: the run's; fractions are the run's
};

// Adds --split, --batch-size, --limit, --device, --corpus, --url and --data-dir. `options` must outlive the
// parsing.
void add_scoring_options(CLI::App& app, ScoringOptions& options);

struct CompressionScore {
  std::string label;  // "f32", "8 bits", "60 % pruned"
  int64_t parameters = 0, nonzero = 0;
  int64_t bytes = 0;  // of the weights as the file keeps them
  double nats = 0;    // a token, mean
};

class CompressionScorer {
 public:
  // Reads the corpus. Error: what load_corpus() says; a split without a prediction to score.
  CompressionScorer(const ScoringOptions& options, const RunConfig& run);

  Device device() const { return device_; }
  const Corpus& corpus() const { return corpus_; }
  // Loads the file as evaluate does, in f32, and scores the text.
  CompressionScore score(const std::string& label, const std::string& path) const;

  // The device and the text.
  void print_start() const;
  void print_head() const;
  void print_row(const CompressionScore& score) const;

 private:
  ScoringOptions options_;
  Device device_;
  Corpus corpus_;
  int64_t batch_size_ = 1;
  Tokens tokens_;
};

}  // namespace tandem
