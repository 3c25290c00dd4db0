// The clusters of a vocabulary, for adaptive_softmax and adaptive_embedding. Ids are sorted by frequency, and
// cutoffs cut them into clusters, of which the rarer ones have fewer features.
#pragma once
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/support/check_operand.h"

namespace tandem {

struct VocabularyClusters {
  std::vector<int64_t> ends;  // cluster i holds the ids begin(i) .. ends[i] - 1

  int64_t count() const { return static_cast<int64_t>(ends.size()); }
  int64_t begin(int64_t i) const { return i == 0 ? 0 : ends[i - 1]; }
  int64_t size(int64_t i) const { return ends[i] - begin(i); }
  int64_t vocabulary() const { return ends.back(); }
};

// Returns the clusters that end at `cutoffs`, and the last one, which ends with the ids of `rows`: a table
// (n_i, d_i) for each cluster, or one table (V, d) for all.
// Error, in the name of `op`: the tables are not floating matrices or do not fit the cutoffs; the cutoffs do
// not ascend or leave a cluster empty.
VocabularyClusters vocabulary_clusters(const char* op, const std::vector<int64_t>& cutoffs,
                                       const std::vector<Tensor>& rows);

// Returns the tensor of cluster i: tensors[i], a view of its rows if there is one table for all, undefined if
// there is none.
Tensor of_cluster(const std::vector<Tensor>& tensors, const VocabularyClusters& clusters, int64_t i);

// Returns the key of cluster i, so that each cluster has its own mask.
DropoutKey cluster_key(DropoutKey key, int64_t i);

// Error, in the name of `op`: w, of the weights called `what`, is defined, and has neither the dtype of the
// main operand nor its parameter_dtype(), or is on another device.
void check_weight(const MainOperand& main, const char* what, const Tensor& w);

}  // namespace tandem
