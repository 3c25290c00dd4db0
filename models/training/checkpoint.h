// Checkpoint: everything that the next training step depends on, in one safetensors file. Weights alone are a
// checkpoint too, enough to evaluate and to generate but not to resume.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "tandem/data/vocabulary.h"
#include "tandem/models/language_model.h"
#include "tandem/models/training/compression.h"

namespace tandem {

struct Checkpoint {
  std::string model_config;  // JSON for make_model()
  std::string run_config;    // RunConfig::text(): recipe, corpus, seed; "" if the training run is not known
  std::string progress;      // JSON: step, position in the text, counters; "" for weights alone
  Vocabulary vocabulary;
  std::vector<NamedTensor> parameters;
  std::vector<NamedTensor> optimizer;  // Optimizer::state(); empty for weights alone
  std::vector<NamedTensor> state;      // State::parts, the carried state of the training stream
  // Compressed parameters, by name; `parameters` holds their values after compression.
  std::vector<NamedTensor> masks;              // of pruned parameters, see prune()
  std::map<std::string, Quantized> quantized;  // of quantized parameters

  bool resumable() const { return !progress.empty(); }
};

inline constexpr const char* kModelPrefix =
    "model.";  // begins the names of the parameters' tensors in the file

// Writes the file and replaces an old one atomically: a reader, even after a crash, finds the old or the new
// file whole.
void save_checkpoint(const std::string& path, const Checkpoint& checkpoint);

// The part of a checkpoint to read: all of it, or only the model. The rest serves training alone and is two thirds of
// most files.
enum class CheckpointPart { all, model };

// Reads a checkpoint. Error naming the file: not a checkpoint of Tandem, a file that was altered since it was
// written, or a tensor that belongs to no part of one.
Checkpoint load_checkpoint(const std::string& path, CheckpointPart part = CheckpointPart::all);

}  // namespace tandem
