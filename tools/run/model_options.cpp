// Options of a model.
#include "tools/run/model_options.h"

#include <CLI/CLI.hpp>

#include "core/check.h"
#include "tools/run/cli.h"
#include "tools/run/device.h"

namespace tandem {

LoadedModel ModelOptions::load() const {
  const bool int8 = precision == "int8";
  const Device where = resolved_device();
  CHECK(!int8 || where.is_cpu(),
        "--precision=int8: products in int8 are made on the CPU; give --device=cpu, too, or "
        "f32, which a GPU multiplies compressed weights in");
  LoadedModel loaded =
      load_model_file(checkpoint, heads, precision == "f64" ? DType::f64 : DType::f32, where);
  CHECK(!int8 || !loaded.quantized.empty(),
        "--precision=int8: the weights of {} are not quantized; `quantize` makes such a checkpoint of it",
        checkpoint);
  if (int8) multiply_in_int8(loaded);
  return loaded;
}

EvaluationOptions ModelOptions::evaluation_for(const LoadedModel& loaded) const {
  EvaluationOptions options;
  if (loaded.run) options = evaluation_options(loaded.run->recipe, 1);
  if (window > 0) options.window = window;
  if (memory >= 0) options.memory = memory;
  if (clamp >= 0) options.clamp = clamp;
  if (options.window <= 0)
    throw UsageError(fmt::format(
        "{} does not tell its evaluation window; give --window=N, the tokens of a segment", checkpoint));
  return options;
}

MatmulPrecision ModelOptions::products() const {
  return precision == "f64" || precision == "int8" ? MatmulPrecision::f32 : precision_named(precision);
}

Device ModelOptions::resolved_device() const {
  return resolve_device(device);
}

void add_model_options(CLI::App& app, ModelOptions& options) {
  app.add_option("--checkpoint", options.checkpoint,
                 "checkpoint of Tandem, or the SRU++ authors' weights as safetensors with metadata vocab")
      ->required();
  app.add_option("--heads", options.heads, "attention heads of the authors' weights, which do not tell [1]")
      ->check(CLI::PositiveNumber);
  app.add_option("--precision", options.precision,
                 "f32; bf16: matrix products in bf16, on a GPU activations too; tf32: products on a "
                 "GPU; int8: products with quantized weights on a CPU; f64: everything in f64")
      ->check(CLI::IsMember({"f32", "tf32", "bf16", "int8", "f64"}))
      ->capture_default_str();
  add_device_option(app, options.device);
  app.add_option("--window", options.window, "tokens a segment [as in training]")->check(CLI::PositiveNumber);
  app.add_option("--memory", options.memory,
                 "tokens that attention looks back on [as in training, where they are as many as --window "
                 "unless the recipe says otherwise]")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--clamp", options.clamp,
                 "largest distance that relative positions tell apart; 0: no limit [as in training]")
      ->check(CLI::NonNegativeNumber);
}

std::string model_line(const LoadedModel& loaded, const ModelOptions& options) {
  const EvaluationOptions evaluation = options.evaluation_for(loaded);
  return fmt::format("model: {}; {} parameters, {}, window {}, memory {}", loaded.kind,
                     with_commas(loaded.model->parameter_count()), options.precision, evaluation.window,
                     evaluation.context().memory);
}

}  // namespace tandem
