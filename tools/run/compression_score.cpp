// Scores of compressed files, and their table.
#include "tandem/tools/run/compression_score.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <numbers>

#include "tandem/core/check.h"
#include "tandem/core/safetensors.h"
#include "tandem/models/training/checkpoint.h"
#include "tandem/models/training/evaluation.h"
#include "tandem/models/training/model_file.h"
#include "tandem/models/training/score.h"
#include "tandem/tools/run/checkpoint_text.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/device.h"

namespace tandem {
namespace {

// Returns the size of the weights, without anything else that the file holds.
int64_t weight_bytes(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  int64_t bytes = 0;
  for (const std::string& name : file.names())
    if (name.starts_with(kModelPrefix))
      bytes += file.shape(name).numel() * static_cast<int64_t>(size_of(file.dtype(name)));
  return bytes;
}

int64_t count_nonzero(const LanguageModel& model) {
  int64_t count = 0;
  for (const NamedTensor& parameter : model.parameters())
    for (const float x : parameter.value.to_vector<float>()) count += x != 0;
  return count;
}

}  // namespace

void add_scoring_flags(Flags& flags, ScoringOptions& options) {
  flags.add("--split", options.split, "Part of the text that is scored.")
      .one_of({"dev", "test"})
      .show_default();
  flags
      .add(
          "--batch-size", options.batch_size,
          "Number of columns that the text is cut into [as in the training run]. Each begins without context.")
      .positive();
  flags.add("--limit", options.limit, "Score only the first tokens of the split [as in the training run].")
      .positive();
  add_device_flag(flags, options.device);
  flags.add("--corpus", options.corpus.name_or_path, "Where the text is now [where it was in training].");
  add_download_flags(flags, options.corpus);
}

CompressionScorer::CompressionScorer(const ScoringOptions& options, const Vocabulary& vocabulary,
                                     const RunConfig& run)
    : options_(options),
      device_(resolve_device(options.device)),
      corpus_(load_trained_text(options.corpus, vocabulary, run)) {
  batch_size_ = options.batch_size > 0 ? options.batch_size : run.recipe.eval_batch_size;
  tokens_ = corpus_.split(options.split);
  const int64_t limit = options.limit > 0 ? options.limit : run.recipe.eval_bytes;
  // That of the run counts bytes of subwords, as its evaluations do.
  tokens_ = options.limit > 0 ? tokens_.first(std::min(tokens_.size(), limit))
                              : first_part(tokens_, corpus_.vocabulary, limit);
  TANDEM_CHECK(tokens_.size() >= 2,
               "{}: {} {} in {} leave nothing to predict; choose another --split or a higher --limit",
               corpus_.source, tokens_.size(), tokens_name(corpus_.level()), options.split);
  // Each column scores equally many tokens: the others at the end are dropped.
  const int64_t scored = (tokens_.size() - 1) / batch_size_ * batch_size_;
  bytes_per_token_ = static_cast<double>(text_bytes(tokens_, corpus_.vocabulary, 1, 1 + scored)) /
                     static_cast<double>(scored);
}

CompressionScore CompressionScorer::score(const std::string& label, const std::string& path) const {
  const LoadedModel loaded = load_model_file(path, 0, DType::f32, device_);
  ProgressLine line;
  const Evaluation result = evaluate(
      *loaded.model, tokens_, evaluation_options(loaded.run->recipe, batch_size_),
      [&line, &label](const Evaluation& so_far, int64_t symbols) {
        if (line.due())
          line.show(fmt::format("{}: {:.0f} %", label,
                                100 * static_cast<double>(so_far.symbols) / static_cast<double>(symbols)));
      });
  TANDEM_CHECK(std::isfinite(result.total_nats), "{}: the losses are not finite ({}); the model has diverged",
               path, result.total_nats);
  return {.label = label,
          .parameters = loaded.model->parameter_count(),
          .nonzero = count_nonzero(*loaded.model),
          .bytes = weight_bytes(path),
          .nats = result.mean_nats()};
}

std::string CompressionScorer::per_byte(double nats) const {
  if (corpus_.level() != TokenUnit::subword) return "";
  return fmt::format(" {:>9.4f}", nats / std::numbers::ln2 / bytes_per_token_);
}

void CompressionScorer::print_start() const {
  std::cout << device_line(device_) << '\n'
            << fmt::format("text: {}, {}: {} {} in {} columns\n\n", corpus_.source, options_.split,
                           with_commas(tokens_.size()), tokens_name(corpus_.level()), batch_size_);
}

void CompressionScorer::print_head() const {
  std::cout << fmt::format("{:<14} {:>15} {:>10} {:>8} {:>9}{}", "weights", "non-zero", "MB", "of f32",
                           score_name(corpus_.level()),
                           corpus_.level() == TokenUnit::subword ? "       bpb" : "")
            << std::endl;
}

void CompressionScorer::print_row(const CompressionScore& score) const {
  const double dense = 4 * static_cast<double>(score.parameters), bytes = static_cast<double>(score.bytes);
  std::cout << fmt::format("{:<14} {:>15} {:>10.3f} {:>6.1f} % {:>9.4f}{}", score.label,
                           with_commas(score.nonzero), bytes / 1e6, 100 * bytes / dense,
                           tandem::score(corpus_.level(), score.nats), per_byte(score.nats))
            << std::endl;
}

}  // namespace tandem
