// The flags by which evaluate, generate, explore and serve name a model, and the model that they load.
#pragma once
#include <string>

#include "tandem/models/training/evaluation.h"
#include "tandem/models/training/model_file.h"
#include "tandem/ops/gemm/precision.h"
#include "tandem/tools/run/flags.h"

namespace tandem {

struct ModelOptions {
  std::string checkpoint;
  int64_t heads = 0;
  std::string precision = "f32";
  std::string device = "auto";
  int64_t window = 0, memory = -1,
          clamp = -1;  // in tokens; these defaults: as in evaluations of the training run

  // Loads the model. Error: the file cannot be read; int8 on a GPU, or with weights that are not quantized.
  LoadedModel load() const;
  // UsageError: no window is given, and the file has none.
  EvaluationOptions evaluation_for(const LoadedModel& loaded) const;
  // Precision of the matrix products that are not in int8 or f64.
  MatmulPrecision products() const;
  // Error: there is no such device.
  Device resolved_device() const;
};

// Adds --checkpoint, --heads, --precision, --device, --window, --memory and --clamp. `options` must outlive the
// parsing. `checkpoint` may name the first otherwise: "checkpoint" is an argument without dashes, and
// "--checkpoint,checkpoint" is either.
void add_model_flags(Flags& flags, ModelOptions& options, const std::string& checkpoint = "--checkpoint");

// Returns "checkpoint of Tandem, step 1000; 2,345,678 parameters, f32, window 256, memory 256".
std::string model_facts(const LoadedModel& loaded, const ModelOptions& options);
// Returns "model: " and the facts.
std::string model_line(const LoadedModel& loaded, const ModelOptions& options);

}  // namespace tandem
