// The options by which evaluate and generate name a model, and what they amount to.
#pragma once
#include <string>

#include "ops/gemm.h"
#include "tools/support/model_file.h"

namespace CLI {
class App;
}

namespace tandem {

struct ModelOptions {
  std::string checkpoint;
  int64_t heads = 0;
  std::string precision = "f32";
  std::string device = "auto";
  int64_t window = 0;  // 0: what the checkpoint was evaluated with in training

  LoadedModel load() const;
  // Error (of usage): no window is given and the file does not tell one either.
  int64_t window_for(const LoadedModel& loaded) const;
  // Of the matrix products: a model in f64 has no choice.
  MatmulPrecision products() const;
  // Error: no such device.
  Device resolved_device() const;
};

// Adds --checkpoint, --heads, --precision, --device and --window. `options` must outlive the parsing.
void add_model_options(CLI::App& app, ModelOptions& options);

// "model: checkpoint of Tandem, step 1000; 2,345,678 parameters, f32, window 256".
std::string model_line(const LoadedModel& loaded, const ModelOptions& options);

}  // namespace tandem
