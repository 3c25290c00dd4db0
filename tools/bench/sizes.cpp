// Sizes from presets and flags.
#include "tools/bench/sizes.h"

#include <nlohmann/json.hpp>

#include "tandem/core/check.h"
#include "tandem/models/presets.h"

namespace tandem {
namespace {

int64_t choose(int64_t wanted, int64_t of_preset) {
  return wanted > 0 ? wanted : of_preset;
}

}  // namespace

std::string BenchSizes::text() const {
  return fmt::format("preset {}: T {}, M {}, B {}, d {}, d' {}, {} head{}, V {}", preset, unroll, unroll,
                     batch_size, d, d_projected, heads, heads == 1 ? "" : "s", vocabulary) +
         (shards > 1 ? fmt::format(", {} shards", shards) : "");
}

BenchSizes bench_sizes(const std::string& preset_name, const BenchSizes& overrides) {
  constexpr int64_t kVocabulary = 99;  // distinct bytes of the corpus gcide
  const Preset known = preset("srupp", preset_name);
  nlohmann::json config = nlohmann::json::parse(known.model_config);
  BenchSizes sizes;
  sizes.preset = known.name;
  sizes.unroll = choose(overrides.unroll, known.recipe.unroll);
  sizes.batch_size = choose(overrides.batch_size, known.recipe.batch_size);
  sizes.shards = choose(overrides.shards, 1);
  sizes.d = choose(overrides.d, config.at("d"));
  sizes.d_projected = choose(overrides.d_projected, config.value("d_projected", int64_t{0}));
  if (sizes.d_projected == 0) sizes.d_projected = sizes.d;
  sizes.heads = choose(overrides.heads, config.value("heads", int64_t{1}));
  sizes.vocabulary = choose(overrides.vocabulary, kVocabulary);
  sizes.words = choose(overrides.words, BenchSizes::kWords);
  TANDEM_CHECK(sizes.d_projected % sizes.heads == 0, "benchmark: heads must divide d': d' is {}, heads {}",
               sizes.d_projected, sizes.heads);
  config["vocabulary"] = sizes.vocabulary;
  config["d"] = sizes.d;
  config["d_projected"] = sizes.d_projected;
  if (config.contains("heads")) config["heads"] = sizes.heads;
  sizes.model_config = config.dump();
  return sizes;
}

void add_size_flags(Flags& flags, BenchSizes& sizes) {
  flags.add("--batch-size", sizes.batch_size, "Number of rows, B [the preset's].").positive();
  flags.add("--unroll", sizes.unroll, "Length of a segment, T, and of the memory, M [the preset's].")
      .positive();
  add_width_flags(flags, sizes);
  flags.add("--vocabulary", sizes.vocabulary, "Number of distinct bytes, V [99, as in gcide].").range(2, 256);
}

void add_width_flags(Flags& flags, BenchSizes& sizes) {
  flags.add("--d", sizes.d, "Width of the model [the preset's].").positive();
  flags.add("--d-projected", sizes.d_projected, "Width of attention, d' [the preset's].").positive();
  flags.add("--heads", sizes.heads, "Number of attention heads [the preset's].").positive();
}

}  // namespace tandem
