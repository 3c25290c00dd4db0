// Inputs of the cases of adaptive_softmax and adaptive_embedding: the clusters that the words of WikiText-103
// have in Transformer-XL, 20000, 20000, 160000 and 67735 ids with d, d/4, d/16 and d/64 features. With fewer
// words the clusters shrink in proportion.
#pragma once
#include <cstdint>
#include <vector>

#include "tools/bench/operators.h"

namespace tandem {

inline constexpr int64_t kAdaptiveClusters = 4;

// The end of each cluster; the last is the vocabulary.
std::vector<int64_t> adaptive_cluster_ends(int64_t words);
// The same without the last, as the operators take them.
std::vector<int64_t> adaptive_cutoffs(int64_t words);

// Returns the weights of the clusters, (ids, features) each, then their projections, (d, features) each.
Tensors adaptive_weights(const BenchSizes& sizes);
// Returns the four tensors of `all` from `first` on.
Tensors of_clusters(const Tensors& all, int64_t first);

// Returns word ids (T, B) whose frequency falls as 1 / rank.
Tensor adaptive_words(const BenchSizes& sizes);

}  // namespace tandem
