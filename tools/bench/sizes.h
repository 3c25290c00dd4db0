// Sizes of a benchmark: those of a preset of SRU++, each of which the command line can replace.
#pragma once
#include <cstdint>
#include <string>

namespace CLI {
class App;
}

namespace tandem {

struct BenchSizes {
  static constexpr int64_t kWords = 267'735;  // of WikiText-103

  std::string preset;
  int64_t unroll = 0, batch_size = 0;  // T and B; the memory is as long as the unroll
  int64_t d = 0, d_projected = 0, heads = 0;
  int64_t vocabulary = 0;
  int64_t words = 0;         // vocabulary of the adaptive softmax and embedding
  std::string model_config;  // of the whole model, vocabulary included: what optimizer_step updates

  int64_t tokens() const { return unroll * batch_size; }
  std::string text() const;  // "preset laptop: T 128, M 128, B 16, d 512, d' 128, 1 head, V 99"
};

// The sizes of a preset, where 0 or not overridden. A model without projection has d' = d.
BenchSizes bench_sizes(const std::string& preset, const BenchSizes& overrides = {});

// Adds --batch-size, --unroll, --d, --d-projected, --heads and --vocabulary, which override those of a
// preset; or of them only --d, --d-projected and --heads. `sizes` must outlive the parsing.
void add_size_options(CLI::App& app, BenchSizes& sizes);
void add_width_options(CLI::App& app, BenchSizes& sizes);

}  // namespace tandem
