// Benchmark case of the adaptive embedding.
#include "tandem/ops/adaptive_embedding.h"
#include "tandem/core/check.h"
#include "tandem/ops/support/weight_cache.h"
#include "tools/bench/operators/adaptive_inputs.h"

namespace tandem {
BENCH_CASES(adaptive_embedding, BenchPrecisions::every) {
  const BenchSizes& s = bench.sizes;
  Tensors inputs = {adaptive_words(s)};
  for (const Tensor& weight : adaptive_weights(s)) inputs.push_back(weight);
  const auto run = [cutoffs = adaptive_cutoffs(s.words)](const Tensors& in) {
    AdaptiveEmbeddingWeights w;
    w.cutoffs = cutoffs;
    w.rows = of_clusters(in, 1);
    w.projections = of_clusters(in, 1 + kAdaptiveClusters);
    return Tensors{adaptive_embedding(in[0], w, {.dtype = activation_dtype(w.rows[0])})};
  };
  double products = 0;
  for (const Tensor& projection : of_clusters(inputs, 1 + kAdaptiveClusters))
    products += static_cast<double>(s.tokens()) * static_cast<double>(projection.numel());
  bench.add(fmt::format("({}, {}) of {} words in clusters to {}", s.unroll, s.batch_size, s.words, s.d),
            inputs, run, multiply_adds(products));
}

}  // namespace tandem
