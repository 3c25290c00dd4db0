// quantize_main(): quantizes a checkpoint and scores each result.
#include <filesystem>

#include "tandem/core/check.h"
#include "tandem/models/training/checkpoint.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/compression_score.h"
#include "tandem/tools/run/programs.h"
#include "tandem/tools/run/run_folder.h"

namespace tandem {
namespace {

struct Options {
  std::string checkpoint;
  std::filesystem::path out;
  std::vector<int> bits = {8, 6, 4};
  ScoringOptions scoring;
};

// Returns whether a bitmap of the pruned weights saves more bits of codes than the one bit a weight that it
// takes.
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
  TANDEM_CHECK(original.quantized.empty(),
               "{}: the weights are quantized already; give the checkpoint in f32", options.checkpoint);
  TANDEM_CHECK(!original.run_config.empty(),
               "{}: the checkpoint has no training run, whose text would be scored", options.checkpoint);
  const CompressionScorer scorer(options.scoring, original.vocabulary,
                                 RunConfig::from_text(original.run_config));
  const RunFolder folder = RunFolder::open_or_make(options.out);
  scorer.print_start();
  scorer.print_head();
  scorer.print_row(scorer.score("f32", options.checkpoint));
  for (const int bits : options.bits) {
    const std::string path = options.out / fmt::format("{}-bit.safetensors", bits);
    save_checkpoint(path, quantized(original, bits));
    scorer.print_row(scorer.score(fmt::format("{} bits", bits), path));
  }
}

constexpr const char* kManual =
    R"(Examples:
  {program} runs/gcide-laptop/best.safetensors --out=runs/quantized
  {program} runs/pruned/sparsity-60.safetensors --out=runs/both --bits=8,4
  generate --checkpoint=runs/both/8-bit.safetensors --precision=int8

Each matrix, embeddings included, is rounded to codes of 2 to 8 bits over its range, without any
data:
  w = step (code - zero),   step = (max - min) / (2^bits - 1)
In a pruned tensor `zero` is a whole number, so that 0 stays 0. Biases, gains and scalars stay in
f32.

Each number of bits gives a checkpoint, and a row with its non-zero weights, its size and its bits
per character (of words its perplexity; of subwords that and bits per byte) on the held-out text of
the training run. In the file a quantized tensor is its codes without gaps and two numbers. evaluate
and generate read it without a flag, as dense f32; with --precision=int8 they multiply by the codes,
whatever their number of bits in the file.)";

}  // namespace

int quantize_main(int argc, char** argv) {
  Flags flags(program_name(argv), "Rounds the weights of a checkpoint to few bits, and scores each result.",
              kManual);
  Options options;
  flags.add("checkpoint", options.checkpoint, "A checkpoint of train or prune.").required();
  flags.add("--bits", options.bits, "Bits of a weight, each number from 2 to 8.")
      .comma_separated()
      .one_argument()
      .range(2, 8)
      .show_default();
  flags.add("--out", options.out, "Folder of the results, BITS-bit.safetensors.").required();
  add_scoring_flags(flags, options.scoring);
  add_verify_flag(flags);
  return run_main(flags, argc, argv, [&options] { run(options); });
}

}  // namespace tandem
