// The options by which evaluate and generate name a model, and what they amount to.
#pragma once
#include <string>

#include "models/training/evaluation.h"
#include "models/training/model_file.h"
#include "ops/gemm/precision.h"

namespace CLI {
class App;
}

namespace tandem {

struct ModelOptions {
  std::string checkpoint;
  int64_t heads = 0;
  std::string precision = "f32";
  std::string device = "auto";
  // 0, -1, -1: what the checkpoint was evaluated with in training.
  int64_t window = 0, memory = -1, clamp = -1;

  // Error, too: int8 on a GPU, or of weights that are not quantized.
  LoadedModel load() const;
  // Error (of usage): no window is given and the file does not tell one either.
  EvaluationOptions evaluation_for(const LoadedModel& loaded) const;
  // Of the products that are not in int8 or f64.
  MatmulPrecision products() const;
  // Error: no such device.
  Device resolved_device() const;
};

// Adds --checkpoint, --heads, --precision, --device, --window, --memory and --clamp. `options` must outlive
// the parsing.
void add_model_options(CLI::App& app, ModelOptions& options);

// "model: checkpoint of Tandem, step 1000; 2,345,678 parameters, f32, window 256".
std::string model_line(const LoadedModel& loaded, const ModelOptions& options);

}  // namespace tandem
