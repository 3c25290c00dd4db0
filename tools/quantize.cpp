// quantize: weights in 8 bits or fewer, and what that costs in bits per character.
#include <CLI/CLI.hpp>
#include <filesystem>

#include "core/check.h"
#include "models/training/checkpoint.h"
#include "tools/run/cli.h"
#include "tools/run/compression_score.h"

namespace tandem {
namespace {

struct Options {
  std::string checkpoint;
  std::filesystem::path out;
  std::vector<int> bits = {8, 6, 4};
  ScoringOptions scoring;
};

// A bitmap of what is pruned pays where the codes that it saves take more than its bit a weight.
bool worth_a_mask(const Tensor& mask, int bits) {
  const auto kept = mask.span<uint8_t>();
  const int64_t pruned = std::count(kept.begin(), kept.end(), uint8_t{0});
  return pruned * bits > mask.numel();
}

Checkpoint quantized(const Checkpoint& original, int bits) {
  Checkpoint result;
  result.model_config = original.model_config;
  result.run_config = original.run_config;
  result.vocabulary = original.vocabulary;
  std::map<std::string, Tensor> masks;
  for (const NamedTensor& mask : original.masks) masks[mask.name] = mask.value;
  for (const NamedTensor& parameter : original.parameters) {
    result.parameters.push_back(parameter);
    if (!is_compressed(parameter)) continue;
    const auto mask = masks.find(parameter.name);
    const Quantized q = quantize(parameter.value, bits, mask != masks.end());
    result.parameters.back().value = dequantize(q);
    result.quantized.emplace(parameter.name, q);
    if (mask != masks.end() && worth_a_mask(mask->second, bits))
      result.masks.push_back({parameter.name, mask->second});
  }
  return result;
}

void run(const Options& options) {
  const Checkpoint original = load_checkpoint(options.checkpoint);
  CHECK(original.quantized.empty(), "{}: the weights are quantized already; give the checkpoint in f32",
        options.checkpoint);
  CHECK(!original.run_config.empty(),
        "{}: the checkpoint does not tell its training run, whose text is scored", options.checkpoint);
  const CompressionScorer scorer(options.scoring, RunConfig::from_text(original.run_config));
  scorer.print_start();
  scorer.print_head();
  scorer.print_row(scorer.score("f32", options.checkpoint));
  std::filesystem::create_directories(options.out);
  for (const int bits : options.bits) {
    const std::string path = options.out / fmt::format("{}-bit.safetensors", bits);
    save_checkpoint(path, quantized(original, bits));
    scorer.print_row(scorer.score(fmt::format("{} bits", bits), path));
  }
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  using namespace tandem;
  limit_openmp_spinning(argv);
  CLI::App app("Rounds the weights of a checkpoint to few bits, and scores each result.", "quantize");
  Options options;
  app.add_option("checkpoint", options.checkpoint, "checkpoint of train or prune")->required();
  app.add_option("--bits", options.bits, "of a weight, each from 2 to 8")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(2, 8))
      ->capture_default_str();
  app.add_option("--out", options.out, "folder of the results, BITS-bit.safetensors")->required();
  add_scoring_options(app, options.scoring);
  return run_main(app, argc, argv, [&options] { run(options); });
}
