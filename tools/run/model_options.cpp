// Flags of a model.
#include "tandem/tools/run/model_options.h"

#include "tandem/core/check.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/device.h"

namespace tandem {

LoadedModel ModelOptions::load() const {
  const bool int8 = precision == "int8";
  const Device where = resolved_device();
  TANDEM_CHECK(!int8 || where.is_cpu(),
               "--precision=int8: products in int8 are made on the CPU; give --device=cpu, too, or "
               "f32, which a GPU multiplies compressed weights in");
  LoadedModel loaded =
      load_model_file(checkpoint, heads, precision == "f64" ? DType::f64 : DType::f32, where);
  TANDEM_CHECK(
      !int8 || !loaded.quantized.empty(),
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
    throw UsageError(
        fmt::format("{} has no evaluation window; give --window=N, the tokens of a segment", checkpoint));
  return options;
}

MatmulPrecision ModelOptions::products() const {
  return precision == "f64" || precision == "int8" ? MatmulPrecision::f32 : precision_named(precision);
}

Device ModelOptions::resolved_device() const {
  return resolve_device(device);
}

void add_model_flags(Flags& flags, ModelOptions& options, const std::string& checkpoint) {
  flags
      .add(
          checkpoint, options.checkpoint,
          "The model: a checkpoint of train, prune or quantize, or the SRU++ authors' weights as a safetensors file.")
      .required();
  flags
      .add("--heads", options.heads,
           "Number of attention heads of the authors' weights, whose file does not have it [1].")
      .positive();
  flags
      .add(
          "--precision", options.precision,
          "f32; bf16: matrix products in bf16, on a GPU activations too; tf32: products in tf32, on a GPU; int8: "
          "products with quantized weights, on a CPU; f64: everything in f64.")
      .one_of({"f32", "tf32", "bf16", "int8", "f64"})
      .show_default();
  add_device_flag(flags, options.device);
  flags.add("--window", options.window, "Length of a segment in tokens [as in training].").positive();
  flags
      .add(
          "--memory", options.memory,
          "Number of tokens before the segment that attention sees [as in training: as many as --window, unless the "
          "recipe says otherwise].")
      .non_negative();
  flags
      .add("--clamp", options.clamp,
           "Largest distance that relative positions distinguish; 0: no limit [as in training].")
      .non_negative();
}

std::string model_facts(const LoadedModel& loaded, const ModelOptions& options) {
  const EvaluationOptions evaluation = options.evaluation_for(loaded);
  return fmt::format("{}; {} parameters, {}, window {}, memory {}", loaded.kind,
                     with_commas(loaded.model->parameter_count()), options.precision, evaluation.window,
                     evaluation.context().memory);
}

std::string model_line(const LoadedModel& loaded, const ModelOptions& options) {
  return "model: " + model_facts(loaded, options);
}

}  // namespace tandem
