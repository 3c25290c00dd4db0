// Sizes of a benchmark: those of a preset of SRU++, unless a flag replaces them.
#pragma once
#include <cstdint>
#include <string>

#include "tandem/tools/run/flags.h"

namespace tandem {

struct BenchSizes {
  static constexpr int64_t kWords = 267'735;  // vocabulary of WikiText-103

  std::string preset;
  int64_t shards = 0;                  // S, of a whole step
  int64_t unroll = 0, batch_size = 0;  // T and B; the memory is as long as the unroll
  int64_t d = 0, d_projected = 0, heads = 0;
  int64_t vocabulary = 0;
  int64_t words = 0;         // vocabulary of adaptive_softmax and adaptive_embedding
  std::string model_config;  // JSON configuration of the whole model, vocabulary included

  int64_t tokens() const { return unroll * batch_size; }
  std::string text() const;  // returns "preset laptop: T 128, M 128, B 16, d 512, d' 128, 1 head, V 99"
};

// Returns the sizes of a preset; those that are not 0 in `overrides` replace them. A model without projection
// has d' = d.
BenchSizes bench_sizes(const std::string& preset, const BenchSizes& overrides = {});

// Adds --batch-size, --unroll, --d, --d-projected, --heads and --vocabulary. `sizes` must outlive the
// parsing.
void add_size_flags(Flags& flags, BenchSizes& sizes);
// Adds --d, --d-projected and --heads only.
void add_width_flags(Flags& flags, BenchSizes& sizes);

}  // namespace tandem
