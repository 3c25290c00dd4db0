// Clusters of a vocabulary: what adaptive_softmax and adaptive_embedding share.
//
// Ids come in the order of their frequency, and cutoffs cut them into clusters: the rare ones get fewer
// features.
#pragma once
#include <vector>

#include "core/tensor.h"
#include "ops/dropout.h"

namespace tandem {

struct VocabularyClusters {
  std::vector<int64_t> ends;  // cluster i holds the ids begin(i) .. ends[i] - 1

  int64_t count() const { return static_cast<int64_t>(ends.size()); }
  int64_t begin(int64_t i) const { return i == 0 ? 0 : ends[i - 1]; }
  int64_t size(int64_t i) const { return ends[i] - begin(i); }
  int64_t vocabulary() const { return ends.back(); }
};

// The clusters that `cutoffs`, the ends of all but the last, make of the ids that have these rows: a matrix
// (n_i, d_i) for each cluster, or one table (V, d) for all. Error, named after `op`: rows are no floating
// matrices, or do not fit the cutoffs; cutoffs do not ascend, or leave a cluster empty.
VocabularyClusters vocabulary_clusters(const char* op, const std::vector<int64_t>& cutoffs,
                                       const std::vector<Tensor>& rows);

// What cluster i has of `tensors`: a view of its rows where they are one table; undefined where there are none.
Tensor of_cluster(const std::vector<Tensor>& tensors, const VocabularyClusters& clusters, int64_t i);

// The key of cluster i, which has a mask of its own.
DropoutKey cluster_key(DropoutKey key, int64_t i);

// Error, named after `op`: w is defined, and neither of x's dtype nor of that of parameters beside x, or not
// on its device.
void check_weight(const char* op, const Tensor& x, const Tensor& w);

}  // namespace tandem
