// Reads a trained model from a file: a checkpoint of Tandem, or the SRU++ authors' own weights.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "tandem/data/vocabulary.h"
#include "tandem/models/language_model.h"
#include "tandem/models/training/compression.h"
#include "tandem/models/training/run_config.h"

namespace tandem {

struct LoadedModel {
  std::unique_ptr<LanguageModel> model;
  Vocabulary vocabulary;
  std::string
      kind;  // for people to read: "checkpoint of Tandem, step 1000", "..., 8-bit weights, 60 % pruned"
  std::optional<RunConfig> run;                // the training run, if the file names it
  std::map<std::string, Quantized> quantized;  // the parameters that were quantized, by name
  bool pruned = false;                         // whether some of the parameters were pruned
};

// Builds the model that a file holds, in f32 or f64; compressed parameters become dense ones. The authors'
// weights are a safetensors file with the names of their PyTorch state_dict and the metadata "vocab", the byte
// values in id order as hex. Such a file does not contain the number of heads, so `heads` gives it, with 0 for
// 1. A checkpoint of Tandem does: there `heads` must be 0 or that number.
// Error naming the file: it is neither of the two kinds, or something in it is wrong.
LoadedModel load_model_file(const std::string& path, int64_t heads = 0, DType dtype = DType::f32,
                            Device device = Device::cpu());

// Makes the model's linear layers multiply in int8, by the codes of its quantized weights.
// Error: the model has such weights and is not f32 on the CPU.
void multiply_in_int8(const LoadedModel& loaded);

}  // namespace tandem
