// RunConfig: everything that defines a training run, as its checkpoints store it.
#pragma once
#include <string>

#include "tandem/data/vocabulary.h"
#include "tandem/models/presets.h"

namespace tandem {

struct RunConfig {
  std::string corpus;         // name or path, as the user gave it
  std::string corpus_sha256;  // Corpus::sha256: a resumed run must read the same tokens
  std::string text_sha256;    // Corpus::text_sha256; "" in runs of version 0.1
  TokenUnit level = TokenUnit::byte;
  VocabularyLimit words;  // if tokens are words: which of them the vocabulary holds
  double valid_fraction = 0.05;
  double test_fraction = 0.05;
  std::string preset;
  std::string model_config;  // JSON for make_model(), with the vocabulary's size
  Recipe recipe;
  std::string precision = "f32";  // of matrix products: f32, tf32 or bf16
  uint64_t seed = 1234;
  bool recompute = false;
  int64_t max_skipped = 10;  // non-finite steps in a row before the run stops
  bool test = true;          // whether the test split is scored at the end

  // Error: a field is outside of its range. Schedule, Optimizer and the model's configuration check their own fields.
  void check() const;
  // Returns the configuration as JSON.
  std::string text() const;
  // Reads text() back. Error: not JSON; a field that is missing, of another type, or outside of its range.
  static RunConfig from_text(const std::string& text);
};

}  // namespace tandem
