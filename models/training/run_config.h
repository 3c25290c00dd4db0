// RunConfig: everything that defines a training run, as its checkpoints store it.
#pragma once
#include <string>

#include "tandem/data/vocabulary.h"
#include "tandem/models/presets.h"

namespace tandem {

// The teacher from which a run learns beside its text (models/training/distillation.h).
struct Distillation {
  std::string teacher;     // path of the teacher's file, as the user gave it
  std::string digest;      // Teacher::digest: a resumed run must have the same teacher; "": not known yet
  double weight = 0;       // part of the teacher's distribution in the loss, in [0, 1]; 0: no teacher
  double temperature = 1;  // of both distributions
  // In so many first steps the layers learn from the teacher's (models/training/imitation.h).
  int64_t imitate_steps = 0;
};

struct RunConfig {
  std::string corpus;         // name or path, as the user gave it
  std::string corpus_sha256;  // Corpus::sha256: a resumed run must read the same tokens
  std::string text_sha256;    // Corpus::text_sha256; "" in runs of version 0.1
  TokenUnit level = TokenUnit::byte;
  VocabularyLimit words;  // which words the vocabulary holds; of subwords their number
  double valid_fraction = 0.05;
  double test_fraction = 0.05;
  std::string preset;
  std::string model_config;  // JSON for make_model(), with the vocabulary's size
  Recipe recipe;
  std::string precision = "f32";  // of matrix products: f32, tf32 or bf16
  uint64_t seed = 1234;
  bool recompute = false;
  Distillation distillation;
  int64_t max_skipped = 10;  // non-finite steps in a row before the run stops
  bool test = true;          // whether the test split is scored at the end
  // These fields say what a run does beside its steps. 0 switches a duty off.
  int64_t early_stop = 0;      // evaluations in a row without a better dev loss after which the run ends
  int64_t sample_every = 0;    // steps between samples; 0: one, at the first evaluation
  int64_t sample_tokens = -1;  // length of a sample; 0: no samples; -1: as is usual at the level of the text
  int64_t keep = 0;            // checkpoints of single steps, the newest, that stay in the folder

  // Error: a field is outside of its range. Schedule, Optimizer and the model's configuration check their own fields.
  void check() const;
  // Returns the configuration as JSON.
  std::string text() const;
  // Reads text() back. Error: not JSON; a field that is missing, of another type, or outside of its range.
  static RunConfig from_text(const std::string& text);
};

}  // namespace tandem
