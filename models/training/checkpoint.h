// Checkpoint: all that the next training step depends on, in one safetensors file. Weights alone are a
// checkpoint too: enough for evaluate and generate, not for resuming.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "data/vocabulary.h"
#include "models/language_model.h"
#include "models/training/compression.h"

namespace tandem {

struct Checkpoint {
  std::string model_config;  // for make_model()
  std::string run_config;    // JSON of the tool that wrote it: recipe, corpus, seed; "" for bare weights
  std::string progress;      // JSON: step, stream position, counters; "" for bare weights
  Vocabulary vocabulary;
  std::vector<NamedTensor> parameters;
  std::vector<NamedTensor> optimizer;  // empty for bare weights
  std::vector<NamedTensor> state;      // carried state and memory of the training stream
  // Of compressed parameters, by name; `parameters` hold what is left. Masks: see prune(). A trainer keeps
  // them.
  std::vector<NamedTensor> masks;
  std::map<std::string, Quantized> quantized;

  bool resumable() const { return !progress.empty(); }
};

inline constexpr const char* kModelPrefix = "model.";  // of parameters' tensors in the file

// Replaces the file atomically: whoever reads it, even after a crash, finds the old or the new one whole.
void save_checkpoint(const std::string& path, const Checkpoint& checkpoint);

// What to read: all, or all but what only further training needs, two thirds of most files.
enum class CheckpointPart { all, model };

// Error naming the file: not a checkpoint of Tandem, or a tensor without a place.
Checkpoint load_checkpoint(const std::string& path, CheckpointPart part = CheckpointPart::all);

}  // namespace tandem
