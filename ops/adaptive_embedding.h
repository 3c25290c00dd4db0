// adaptive_embedding: rows of few features for rare ids, projected to a common width.
//
// Baevski and Auli, "Adaptive input representations for neural language modeling" (ICLR 2019). The clusters, and
// weights that may be tied, are those of adaptive_softmax.
#pragma once
#include <optional>
#include <vector>

#include "core/tensor.h"
#include "ops/dropout.h"

namespace tandem {

struct AdaptiveEmbeddingWeights {
  std::vector<int64_t> cutoffs;     // ascending: the ends of all clusters but the last, which ends at V
  std::vector<Tensor> rows;         // (n_i, d_i) of each cluster; or one (V, d_0), whatever the cutoffs
  std::vector<Tensor> projections;  // (d, d_i) for each of the rows, or undefined where d_i is d; or none
};

struct AdaptiveEmbeddingOptions {
  double scale = 1;    // of the result; Transformer-XL's is sqrt(d)
  double dropout = 0;  // of the rows, before they are projected; each cluster has a mask of its own
  DropoutKey key = {};
  std::optional<DType> dtype = {};  // of the result: that of the rows, or on a GPU bf16 from f32 rows
};

// ids (...) i32 -> (..., d): y = scale P_i row, where i is the id's cluster. Every cluster takes part for all
// tokens, with zeros for those of the others: so sizes do not depend on the ids, and a step can be a CUDA
// graph. Error: cutoffs and rows as in vocabulary_clusters(); shapes that do not fit; ids as in embedding().
Tensor adaptive_embedding(const Tensor& ids, const AdaptiveEmbeddingWeights& weights,
                          const AdaptiveEmbeddingOptions& options = {});

// The row of `ids` in a cluster's table.
struct ClusterIds {
  int64_t begin = 0;       // the cluster's first id
  int64_t vocabulary = 0;  // ids not below it belong to no cluster
};

namespace cpu {
// y[t] = scale * table[ids[t] - begin], or 0 where that id is of another cluster, NaN where it is of none.
void cluster_table_rows(const Tensor& y, const Tensor& ids, const Tensor& table, ClusterIds cluster,
                        double scale);
// y = ids - begin: as ids of the cluster's table, which the others lie outside of.
void shift_ids(const Tensor& y, const Tensor& ids, int64_t begin);
}  // namespace cpu

namespace cuda {
void cluster_table_rows(const Tensor& y, const Tensor& ids, const Tensor& table, ClusterIds cluster,
                        double scale);
void shift_ids(const Tensor& y, const Tensor& ids, int64_t begin);
}  // namespace cuda

}  // namespace tandem
