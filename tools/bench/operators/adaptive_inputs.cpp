// Clusters, weights and ids for adaptive operators.
#include "tools/bench/operators/adaptive_inputs.h"

#include <algorithm>
#include <cmath>

#include "tandem/core/random.h"
#include "tools/bench/timing.h"

namespace tandem {

std::vector<int64_t> adaptive_cluster_ends(int64_t words) {
  std::vector<int64_t> ends = adaptive_cutoffs(words);
  ends.push_back(words);
  return ends;
}

std::vector<int64_t> adaptive_cutoffs(int64_t words) {
  std::vector<int64_t> cutoffs;
  for (const int64_t end : {20'000, 40'000, 200'000}) cutoffs.push_back(end * words / BenchSizes::kWords);
  return cutoffs;
}

Tensors adaptive_weights(const BenchSizes& s) {
  const std::vector<int64_t> ends = adaptive_cluster_ends(s.words);
  const int64_t d = s.d;
  Tensors weights, projections;
  for (int64_t i = 0; i < kAdaptiveClusters; ++i) {
    const int64_t width = std::max<int64_t>(1, d >> (2 * i)), begin = i > 0 ? ends[i - 1] : 0;
    const double row = 1 / std::sqrt(width), projection = 1 / std::sqrt(d);
    weights.push_back(bench_random({ends[i] - begin, width}, 10 + i, -row, row));
    projections.push_back(bench_random({d, width}, 20 + i, -projection, projection));
  }
  weights.insert(weights.end(), projections.begin(), projections.end());
  return weights;
}

Tensors of_clusters(const Tensors& all, int64_t first) {
  return {all.begin() + first, all.begin() + first + kAdaptiveClusters};
}

Tensor adaptive_words(const BenchSizes& s) {
  Tensor ids({s.unroll, s.batch_size}, DType::i32);
  Random random(1);
  const auto count = static_cast<double>(s.words);
  for (int32_t& id : ids.span<int32_t>()) {
    const double rank = std::exp(random.uniform(0, std::log(count)));
    id = static_cast<int32_t>(std::min(rank, count)) - 1;
  }
  return ids.to(bench_device());
}

}  // namespace tandem
