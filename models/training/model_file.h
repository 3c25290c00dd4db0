// Reading a trained model from a file: a checkpoint of Tandem, or the SRU++ authors' own weights.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "data/vocabulary.h"
#include "models/language_model.h"
#include "models/training/compression.h"
#include "models/training/run_config.h"

namespace tandem {

struct LoadedModel {
  std::unique_ptr<LanguageModel> model;
  Vocabulary vocabulary;
  std::string kind;  // for people: "checkpoint of Tandem, step 1000", "..., 8-bit weights, 60 % pruned"
  std::optional<RunConfig> run;                // of the training run, where the file tells
  std::map<std::string, Quantized> quantized;  // the parameters that were quantized, by name
};

// `dtype` is f32 or f64. The authors' weights are a safetensors file with the names of their PyTorch
// state_dict and the metadata "vocab", the hex of the byte values in id order. Such a file does not tell the
// number of heads: `heads` does, 0 stands for 1. A checkpoint of Tandem tells, and takes only 0 or that
// number. Error naming the file: neither of the two kinds; what is wrong with it. Compressed parameters
// become dense ones.
LoadedModel load_model_file(const std::string& path, int64_t heads = 0, DType dtype = DType::f32,
                            Device device = Device::cpu());

// From now on the model's linear layers multiply in int8 by the codes of quantized weights. Error: a model
// with such weights that is not in f32 on the CPU.
void multiply_in_int8(const LoadedModel& loaded);

}  // namespace tandem
