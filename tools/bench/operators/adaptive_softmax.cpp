// Benchmark cases of the adaptive softmax, beside a full softmax over as many words.
#include <algorithm>
#include <cmath>

#include "tandem/core/check.h"
#include "tandem/ops/adaptive_softmax.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/linear.h"
#include "tools/bench/operators/adaptive_inputs.h"

namespace tandem {
namespace {

// Returns how many of the ids are in each cluster.
std::vector<double> tokens_of(const Tensor& ids, const std::vector<int64_t>& ends) {
  std::vector<double> tokens(kAdaptiveClusters, 0);
  for (const int32_t id : ids.to_vector<int32_t>())
    ++tokens[std::upper_bound(ends.begin(), ends.end(), id) - ends.begin()];
  return tokens;
}

}  // namespace

BENCH_CASES(adaptive_softmax, BenchPrecisions::every) {
  const BenchSizes& s = bench.sizes;
  const Tensor x = bench.activation({s.unroll, s.batch_size, s.d}, 2), targets = adaptive_words(s);
  Tensors inputs = {x, targets, bench.random({kAdaptiveClusters - 1, s.d}, 3)};
  for (const Tensor& weight : adaptive_weights(s)) inputs.push_back(weight);
  const auto run = [cutoffs = adaptive_cutoffs(s.words)](const Tensors& in) {
    AdaptiveSoftmaxWeights w;
    w.cutoffs = cutoffs;
    w.rows = of_clusters(in, 3);
    w.projections = of_clusters(in, 3 + kAdaptiveClusters);
    w.cluster_rows = in[2];
    return Tensors{adaptive_softmax_loss(in[0], in[1], w)};
  };
  // All three products of each weight are in the forward pass, those of the gradients too.
  std::vector<double> tokens = tokens_of(targets, adaptive_cluster_ends(s.words));
  tokens[0] = static_cast<double>(s.tokens());
  PassWork work;
  for (int64_t i = 0; i < kAdaptiveClusters; ++i) {
    const Tensor &weight = inputs[3 + i], &projection = inputs[3 + kAdaptiveClusters + i];
    work.forward.flops += 6 * tokens[i] * static_cast<double>(weight.numel() + projection.numel());
  }
  bench.add(fmt::format("({}, {}, {}), {} words in clusters", s.unroll, s.batch_size, s.d, s.words), inputs,
            run, work);

  // What the clusters save: d features for every word, and a logit for every pair of word and token.
  const double bound = 1 / std::sqrt(s.d);
  const Tensor table = bench.random({s.words, s.d}, 3, -bound, bound);
  bench.add(
      fmt::format("({}, {}, {}), {} words, full softmax", s.unroll, s.batch_size, s.d, s.words),
      {x, targets, table},
      [](const Tensors& in) { return Tensors{cross_entropy_in_place(linear(in[0], in[2]), in[1])}; },
      multiply_adds(static_cast<double>(s.tokens()) * static_cast<double>(table.numel())));
}

}  // namespace tandem
