// The softmaxes that make up an adaptive softmax: the weights and the tokens of each. Internal to
// adaptive_softmax.cpp.
#pragma once
#include <vector>

#include "tandem/ops/adaptive/clusters.h"
#include "tandem/ops/adaptive_softmax.h"

namespace tandem {

// Returns the weights with f(tensor) in place of each tensor, undefined ones included.
template <class F>
AdaptiveSoftmaxWeights transformed(AdaptiveSoftmaxWeights w, const F& f) {
  for (std::vector<Tensor>* list : {&w.rows, &w.biases, &w.projections})
    for (Tensor& tensor : *list) tensor = f(tensor);
  w.cluster_rows = f(w.cluster_rows);
  w.cluster_bias = f(w.cluster_bias);
  return w;
}

// Returns the clusters, after checking the weights. Error, in the name of `op`: as in adaptive_softmax_nll().
VocabularyClusters checked_clusters(const char* op, const Tensor& hidden, const AdaptiveSoftmaxWeights& w);

// The weights of one softmax, the head or a tail; or their gradients, undefined if not wanted.
struct Softmax {
  // A table whose logits begin at column `first`. The head has two: that of cluster 0 and the cluster weights.
  struct Piece {
    Tensor rows, bias;
    int64_t first = 0;
  };
  Tensor projection;
  std::vector<Piece> pieces;
};

// Returns the softmax of cluster i, the head for i = 0.
Softmax softmax_of(const AdaptiveSoftmaxWeights& w, const VocabularyClusters& clusters, int64_t i);

// Returns the head's column for cluster i > 0.
int64_t cluster_column(const AdaptiveSoftmaxWeights& w, const VocabularyClusters& clusters, int64_t i);

// For each softmax, its tokens in their order, and the column of each token's target.
struct SoftmaxTokens {
  std::vector<Tensor> index;    // i32; undefined for the head, which has all tokens
  std::vector<Tensor> columns;  // i32
};

// Sorts the targets by cluster. Waits for the device. Error, in the name of `op`: a target outside the vocabulary.
SoftmaxTokens softmax_tokens(const char* op, const Tensor& targets, const AdaptiveSoftmaxWeights& w,
                             const VocabularyClusters& clusters);

}  // namespace tandem
