// From presets and options to sizes.
#include "tools/bench/sizes.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "models/presets.h"

namespace tandem {
namespace {

int64_t choose(int64_t wanted, int64_t of_preset) {
  return wanted > 0 ? wanted : of_preset;
}

}  // namespace

std::string BenchSizes::text() const {
  return fmt::format("preset {}: T {}, M {}, B {}, d {}, d' {}, {} head{}, V {}", preset, unroll, unroll,
                     batch_size, d, d_projected, heads, heads == 1 ? "" : "s", vocabulary);
}

BenchSizes bench_sizes(const std::string& preset_name, const BenchSizes& overrides) {
  constexpr int64_t kVocabulary = 99;  // distinct bytes of the corpus gcide
  const Preset known = preset("srupp", preset_name);
  nlohmann::json config = nlohmann::json::parse(known.model_config);
  BenchSizes sizes;
  sizes.preset = known.name;
  sizes.unroll = choose(overrides.unroll, known.recipe.unroll);
  sizes.batch_size = choose(overrides.batch_size, known.recipe.batch_size);
  sizes.d = choose(overrides.d, config.at("d"));
  sizes.d_projected = choose(overrides.d_projected, config.value("d_projected", int64_t{0}));
  if (sizes.d_projected == 0) sizes.d_projected = sizes.d;
  sizes.heads = choose(overrides.heads, config.value("heads", int64_t{1}));
  sizes.vocabulary = choose(overrides.vocabulary, kVocabulary);
  sizes.words = choose(overrides.words, BenchSizes::kWords);
  CHECK(sizes.d_projected % sizes.heads == 0, "benchmark: heads must divide d': d' is {}, heads {}",
        sizes.d_projected, sizes.heads);
  config["vocabulary"] = sizes.vocabulary;
  config["d"] = sizes.d;
  config["d_projected"] = sizes.d_projected;
  if (config.contains("heads")) config["heads"] = sizes.heads;
  sizes.model_config = config.dump();
  return sizes;
}

void add_size_options(CLI::App& app, BenchSizes& sizes) {
  app.add_option("--batch-size", sizes.batch_size, "B [the preset's]")->check(CLI::PositiveNumber);
  app.add_option("--unroll", sizes.unroll, "T, and the length of the memory [the preset's]")
      ->check(CLI::PositiveNumber);
  add_width_options(app, sizes);
  app.add_option("--vocabulary", sizes.vocabulary, "V: distinct bytes [99, as in gcide]")
      ->check(CLI::Range(2, 256));
}

void add_width_options(CLI::App& app, BenchSizes& sizes) {
  app.add_option("--d", sizes.d, "width of the model [the preset's]")->check(CLI::PositiveNumber);
  app.add_option("--d-projected", sizes.d_projected, "d', width of attention [the preset's]")
      ->check(CLI::PositiveNumber);
  app.add_option("--heads", sizes.heads, "of attention [the preset's]")->check(CLI::PositiveNumber);
}

}  // namespace tandem
