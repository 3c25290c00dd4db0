// export_main(): writes the model of a checkpoint for programs in PyTorch.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "tandem/core/check.h"
#include "tandem/core/safetensors.h"
#include "tandem/core/utf8.h"
#include "tandem/models/srupp/authors_weights.h"
#include "tandem/models/training/checkpoint.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/export_transformers.h"
#include "tandem/tools/run/model_options.h"
#include "tandem/tools/run/programs.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAuthors = "srupp-authors";
constexpr const char* kTransformers = "transformers";

struct Options {
  ModelOptions model;
  std::string format;
  fs::path out;
};

// Error: there is something already that would be written over.
void check_new(const Options& o) {
  if (!fs::exists(o.out)) return;
  const bool empty_folder = o.format == kTransformers && fs::is_directory(o.out) && fs::is_empty(o.out);
  TANDEM_CHECK(empty_folder, "--out={}: exists already and is not written over; give another --out",
               o.out.string());
}

// Tells what becomes of weights that the file holds in another form than f32.
void print_conversions(const std::string& path, const LoadedModel& loaded) {
  if (!loaded.quantized.empty() || loaded.pruned)
    std::cout << "note: the compressed weights are written as dense f32\n";
  const SafetensorsFile file = SafetensorsFile::open(path);
  const bool checkpoint = file.metadata().contains("model");
  const bool wide = std::any_of(file.names().begin(), file.names().end(), [&](const std::string& name) {
    return file.dtype(name) == DType::f64 && (!checkpoint || name.starts_with(kModelPrefix));
  });
  if (wide) std::cout << "note: weights in f64 are rounded to f32\n";
}

// Returns the flags by which evaluate scores the authors' layout as it scores the checkpoint.
std::string flags_for_evaluate(const Options& o, const LoadedModel& loaded, const SruppConfig& config) {
  std::string text = fmt::format("--checkpoint={}", printable(o.out.string()));
  if (loaded.run || o.model.window > 0) {
    const EvaluationOptions evaluation = o.model.evaluation_for(loaded);
    text += fmt::format(" --window={}", evaluation.window);
    if (evaluation.context().memory != evaluation.window)
      text += fmt::format(" --memory={}", evaluation.context().memory);
  } else {
    text += " --window=N";
  }
  return config.heads > 1 ? text + fmt::format(" --heads={}", config.heads) : text;
}

void export_to_authors(const Options& o, const LoadedModel& loaded) {
  const std::string model = model_of_config(loaded.model->config());
  TANDEM_CHECK(model == "srupp", "export: the model is {}; the SRU++ authors' layout is that of srupp alone",
               model);
  TANDEM_CHECK(loaded.vocabulary.level() == TokenUnit::byte,
               "export: the tokens are {}s; the SRU++ authors' layout is that of a model of bytes",
               name_of(loaded.vocabulary.level()));
  const SruppConfig config = SruppConfig::from_text(loaded.model->config());
  NamedTensors tensors;
  for (const NamedTensor& tensor : to_authors_state_dict(loaded.model->parameters(), config))
    tensors.emplace_back(tensor.name, tensor.value);
  if (config.tied) std::cout << "note: the output rows are the embedding's; they are written twice\n";
  write_safetensors(o.out.string(), tensors, {{"vocab", loaded.vocabulary.to_hex()}});
  std::cout << fmt::format("written: {}, {} tensors\nscored by: evaluate {}\n", printable(o.out.string()),
                           tensors.size(), flags_for_evaluate(o, loaded, config));
}

void export_to_folder(const Options& o, const LoadedModel& loaded) {
  const EvaluationOptions evaluation = o.model.evaluation_for(loaded);
  export_to_transformers(loaded, evaluation, o.model.checkpoint, o.out);
  std::cout << fmt::format(
      "written: {}\nloaded by: AutoModelForCausalLM.from_pretrained(\"{}\", trust_remote_code=True)\n",
      printable(o.out.string()), printable(o.out.string()));
}

void run(const Options& o) {
  check_new(o);
  const LoadedModel loaded = load_model_file(o.model.checkpoint, o.model.heads);
  std::cout << fmt::format("model: {}; {} parameters\n", loaded.kind,
                           with_commas(loaded.model->parameter_count()));
  print_conversions(o.model.checkpoint, loaded);
  o.format == kAuthors ? export_to_authors(o, loaded) : export_to_folder(o, loaded);
}

constexpr const char* kManual =
    R"(Examples:
  {program} runs/gcide-laptop/best.safetensors --format=transformers --out=runs/gcide-transformers
  {program} runs/published/best.safetensors --format=srupp-authors --out=runs/published-authors.safetensors

srupp-authors is a safetensors file with the tensor names and the layout of the PyTorch state_dict of
SRU++'s authors, and with the byte values of the vocabulary as the metadata `vocab`. It holds SRU++
of bytes as published: no filters (conv_width, short_conv_width) and no clusters of words. evaluate reads
it and gives the checkpoint's score, to the last bit.

transformers is a folder for Hugging Face's library: weights, configuration, vocabulary, a page about
the model, and files in Python that compute it in PyTorch alone. AutoModelForCausalLM and
AutoTokenizer load it with trust_remote_code=True; scores and generate() are Tandem's within rounding.
It holds srupp, sru, transformer-xl and primer with all their options, of bytes or words, but not
absolute positions. --window and --memory are the context that it is read with.

What a format cannot hold is an error that names the field. Nothing that exists is written over.
Weights of a pruned or quantized checkpoint become dense f32. Dropout is left out.)";

}  // namespace

int export_main(int argc, char** argv) {
  Flags flags(program_name(argv), "Writes a trained model for programs in PyTorch.", kManual);
  Options options;
  flags
      .add(
          "checkpoint", options.model.checkpoint,
          "The model: a checkpoint of train, prune or quantize, or the SRU++ authors' weights as a safetensors file.")
      .required();
  flags
      .add("--format", options.format,
           "srupp-authors: a file in the layout of SRU++'s authors; transformers: a folder for that library.")
      .one_of({kAuthors, kTransformers})
      .required();
  flags.add("--out", options.out, "The file or folder that is written; it must not exist yet.").required();
  flags
      .add("--heads", options.model.heads,
           "Number of attention heads of the authors' weights, whose file does not have it [1].")
      .positive();
  flags.add("--window", options.model.window, "Length of a segment in tokens [as in training].").positive();
  flags
      .add("--memory", options.model.memory,
           "Number of tokens before the segment that attention sees [as in training].")
      .non_negative();
  flags
      .add("--clamp", options.model.clamp,
           "Largest distance that relative positions distinguish; 0: no limit [as in training].")
      .non_negative();
  add_verify_flag(flags);
  return run_main(flags, argc, argv, [&options] { run(options); });
}

}  // namespace tandem
