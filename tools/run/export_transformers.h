// Writing a model as a folder that Hugging Face's transformers loads: weights, configuration, vocabulary and the Python
// code that computes them (tools/transformers/).
#pragma once
#include <filesystem>
#include <string>

#include "tandem/models/training/evaluation.h"
#include "tandem/models/training/model_file.h"

namespace tandem {

// Error naming the field of the configuration and its value: the Python code does not compute such a model.
void check_transformers_have(const LoadedModel& loaded, const EvaluationOptions& evaluation);

// Writes config.json, model.safetensors in f32, vocab.txt, tokenizer_config.json, README.md and the Python files into
// `folder`, which exists. `checkpoint` is the file that the model was loaded from. Error: as above; a file cannot be
// written.
void export_to_transformers(const LoadedModel& loaded, const EvaluationOptions& evaluation,
                            const std::string& checkpoint, const std::filesystem::path& folder);

}  // namespace tandem
