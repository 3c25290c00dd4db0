// adaptive_embedding: rows of fewer features for rarer ids, projected to one width, (...) i32 to (..., d).
//
// Baevski and Auli, "Adaptive input representations for neural language modeling" (ICLR 2019). The clusters of
// the vocabulary are those of adaptive_softmax, with which weights may be tied.
#pragma once
#include <optional>
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/dropout.h"

namespace tandem {

struct AdaptiveEmbeddingWeights {
  std::vector<int64_t> cutoffs;     // ascending ends of all clusters but the last, which ends at V
  std::vector<Tensor> rows;         // the tables: (n_i, d_i) for each cluster, or one (V, d_0) for all
  std::vector<Tensor> projections;  // (d, d_i) for each table, or undefined if d_i is d; empty: none
};

struct AdaptiveEmbeddingOptions {
  double scale = 1;    // factor of the result; Transformer-XL has sqrt(d)
  double dropout = 0;  // probability of dropping a feature of a row; each cluster has its own mask
  DropoutKey key = {};
  std::optional<DType> dtype = {};  // of the result: the tables', or on a GPU bf16 from f32 tables
};

// Computes y = scale P_i row for each id (...), where i is the id's cluster and `row` its row in the table of
// that cluster. Every cluster is computed for all tokens, with rows of zeros for the tokens of other clusters,
// so that sizes do not depend on the ids and a CUDA graph can hold a step.
// Error: cutoffs and tables as in vocabulary_clusters(); shapes that do not fit; ids as in embedding().
Tensor adaptive_embedding(const Tensor& ids, const AdaptiveEmbeddingWeights& weights,
                          const AdaptiveEmbeddingOptions& options = {});

// The ids of a cluster.
struct ClusterIds {
  int64_t begin = 0;       // its first id
  int64_t vocabulary = 0;  // V: ids outside 0 .. V - 1 belong to no cluster
};

namespace cpu {
// y[t] = scale * table[ids[t] - begin], or 0 if the id belongs to another cluster, or NaN if it belongs to
// none.
void cluster_table_rows(const Tensor& y, const Tensor& ids, const Tensor& table, ClusterIds cluster,
                        double scale);
// y = ids - begin, the rows in the cluster's table; those of other clusters fall outside it.
void shift_ids(const Tensor& y, const Tensor& ids, int64_t begin);
}  // namespace cpu

namespace cuda {
void cluster_table_rows(const Tensor& y, const Tensor& ids, const Tensor& table, ClusterIds cluster,
                        double scale);
void shift_ids(const Tensor& y, const Tensor& ids, int64_t begin);
}  // namespace cuda

}  // namespace tandem
