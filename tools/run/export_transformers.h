// Writing a model as a folder that Hugging Face's transformers loads: weights, configuration, vocabulary and the Python
// code that computes them (tools/transformers/).
#pragma once
#include <filesystem>
#include <string>

#include "tandem/models/training/evaluation.h"
#include "tandem/models/training/model_file.h"

namespace tandem {

// Writes config.json, model.safetensors in f32, vocab.txt, tokenizer_config.json, README.md and the Python files into
// `folder`. `checkpoint` is the file that the model was loaded from. Creates `folder` unless it is there and empty. After an
// error there is none, or the empty one that was there.
// Error: the Python code does not compute such a model, and the message names the field of the configuration and its value;
// the folder or a file cannot be written.
void export_to_transformers(const LoadedModel& loaded, const EvaluationOptions& evaluation,
                            const std::string& checkpoint, const std::filesystem::path& folder);

}  // namespace tandem
