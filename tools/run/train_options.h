// The command line of train.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tandem/data/corpus.h"
#include "tandem/tools/run/flags.h"
#include "tandem/tools/run/ranks.h"
#include "tandem/tools/run/training_run.h"

namespace tandem {

inline constexpr const char* kDefaultModel = "srupp";

struct TrainOptions {
  CorpusOptions corpus;
  std::string model = kDefaultModel;
  std::string preset = "laptop";
  std::string level;             // "byte", "word" or empty: as is usual for the corpus
  std::vector<std::string> set;  // FIELD=VALUE of the model's configuration
  std::string precision = "auto";
  std::string device = "auto";
  std::string out;                    // folder of the run; empty: a new one under runs/
  std::optional<std::string> resume;  // a folder or checkpoint; empty text: the latest run
  RunOptions run;
  RankOptions ranks;
  std::string max_time;  // such as "10m"
  // Values that replace those of the preset.
  std::optional<int64_t> d, d_projected, layers, heads, attention_every, attention_last;
  std::optional<double> dropout, attention_dropout;
  std::optional<int64_t> batch_size, unroll, accumulate, reset_every, eval_window, eval_memory, eval_clamp,
      eval_batch_size, warmup, steps, eval_every;
  std::optional<double> lr, weight_decay, clip;
  std::optional<std::string> optimizer, decay;
  std::optional<int64_t> eval_bytes, sample_tokens, sample_every, keep, early_stop;
  std::string teacher;  // path of the teacher's file; empty: that of the run, or none
  std::optional<double> distill_weight, temperature;
  std::optional<int64_t> imitate_steps;
  int64_t find_lr = 0;                     // steps of the search for a learning rate; 0: trains
  std::optional<std::string> tensorboard;  // folder for event files; empty text: that of the run
  std::vector<std::string> command;        // program and arguments, for run.json
  uint64_t seed = 1234;
  bool recompute = false;
  bool eager = false;
  bool check_nan = false;
  bool describe = false;
  bool dump_config = false;
  bool test = true;
  int64_t max_skipped = 10;
};

// Adds all flags. `options` must outlive the parsing.
void add_train_flags(Flags& flags, TrainOptions& options);

// The text that --help prints below the flags, for Flags.
extern const char* const kTrainManual;

}  // namespace tandem
