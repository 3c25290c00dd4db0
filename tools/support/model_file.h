// Reading a trained model from a file: a checkpoint of Tandem, or the SRU++ authors' own weights.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "data/vocabulary.h"
#include "models/language_model.h"
#include "tools/support/run_config.h"

namespace tandem {

struct LoadedModel {
  std::unique_ptr<LanguageModel> model;
  Vocabulary vocabulary;
  std::string kind;              // for people: "checkpoint of Tandem, step 1000"
  std::optional<RunConfig> run;  // of the training run, where the file tells
};

// `dtype` is f32 or f64. The authors' weights are a safetensors file with the names of their PyTorch
// state_dict and the metadata "vocab", the hex of the byte values in id order. Such a file does not tell the
// number of heads: `heads` does, 0 stands for 1. A checkpoint of Tandem tells, and takes only 0 or that
// number. Error naming the file: neither of the two kinds; what is wrong with it.
LoadedModel load_model_file(const std::string& path, int64_t heads = 0, DType dtype = DType::f32,
                            Device device = Device::cpu());

}  // namespace tandem
