// The softmaxes that make up an adaptive one: their weights, and the tokens that go through each. Internal to
// adaptive_softmax.cpp.
#pragma once
#include <vector>

#include "ops/adaptive/clusters.h"
#include "ops/adaptive_softmax.h"

namespace tandem {

// The same weights with f(tensor) for each tensor, undefined ones too.
template <class F>
AdaptiveSoftmaxWeights transformed(AdaptiveSoftmaxWeights w, const F& f) {
  for (std::vector<Tensor>* list : {&w.rows, &w.biases, &w.projections})
    for (Tensor& tensor : *list) tensor = f(tensor);
  w.cluster_rows = f(w.cluster_rows);
  w.cluster_bias = f(w.cluster_bias);
  return w;
}

// Error as of adaptive_softmax_nll().
VocabularyClusters checked_bands(const Tensor& hidden, const AdaptiveSoftmaxWeights& w);

// One softmax, the head or a tail: its weights; or their gradients, undefined where none is wanted.
struct Softmax {
  // Matrices whose logits stand side by side: those of `rows` begin at column `first`.
  struct Piece {
    Tensor rows, bias;
    int64_t first = 0;
  };
  Tensor projection;
  std::vector<Piece> pieces;
};

// That of cluster i: the head for 0.
Softmax softmax_of(const AdaptiveSoftmaxWeights& w, const VocabularyClusters& clusters, int64_t i);

// The head's column for cluster i > 0.
int64_t cluster_column(const AdaptiveSoftmaxWeights& w, const VocabularyClusters& clusters, int64_t i);

// For each softmax, the tokens that go through it, in their order, and the column that each of them wants.
struct SoftmaxTokens {
  std::vector<Tensor> index;  // i32; of the head undefined: all
  std::vector<Tensor> columns;
};

// Waits for the device. Error: a target outside the vocabulary.
SoftmaxTokens softmax_tokens(const Tensor& targets, const AdaptiveSoftmaxWeights& w,
                             const VocabularyClusters& clusters);

}  // namespace tandem
