// adaptive_softmax: the loss of a large vocabulary, in which rare words cost less.
//
// The ids, most frequent first, are cut into clusters. The first and a cluster for each other cluster share one
// softmax, the head; each other cluster, a tail, has a softmax of its own, over fewer features, through which
// only its own tokens go:  P(w | h) = P_head(cluster of w | h) P_tail(w | h).
// Grave et al., "Efficient softmax approximation for GPUs" (ICML 2017). With projections, biases and tied
// weights: Transformer-XL (Dai et al., ACL 2019); without biases: Baevski and Auli, "Adaptive input
// representations" (ICLR 2019). Logits never exist for all tokens: they are made, used and overwritten a
// block of tokens at a time.
#pragma once
#include <vector>

#include "core/tensor.h"
#include "ops/dropout.h"
#include "ops/gemm/gemm.h"

namespace tandem {

// d features, V ids, J cutoffs. Rows and projections may be those of an adaptive_embedding too. PyTorch,
// which stores projections as (d_i, d), has the rows of cluster 0 and the clusters in one matrix.
struct AdaptiveSoftmaxWeights {
  std::vector<int64_t>
      cutoffs;               // ascending: the ends of clusters 0..J-1; the last ends at V. None: one softmax
  std::vector<Tensor> rows;  // (n_i, d_i) of each cluster; or one (V, d_0) that the clusters share out
  std::vector<Tensor> biases;  // (n_i) of each cluster or undefined; or one (V) beside one table; or none
  std::vector<Tensor> projections;  // (d, d_i) of each cluster, or undefined where d_i is d; or none
  Tensor cluster_rows;              // (J, d_0): with row j the head scores the cluster j + 1
  Tensor cluster_bias;              // (J) or undefined
  bool reversed_clusters = false;   // row J - 1 - j instead, as in Transformer-XL's PyTorch code
};

struct AdaptiveSoftmaxOptions {
  double dropout = 0;  // of the projected features, each cluster with a mask of its own
  DropoutKey key = {};
  int64_t logits_at_once = int64_t{1} << 25;  // about so many are in memory at a time
};

// hidden (..., d), targets (...) i32 -> (...): each token's loss in nats, in the order of the tokens.
// Backward makes the logits again. The result is of hidden's dtype, or f32 for bf16, and so may the weights
// be. Error: shapes, dtypes or devices that do not fit; cutoffs as in vocabulary_clusters(); a target outside
// 0..V-1 (value and position are named). On a GPU the device is waited for once, since the numbers of tokens
// in the clusters are sizes of products: inside a CUDA graph's capture that is an Error.
Tensor adaptive_softmax_nll(const Tensor& hidden, const Tensor& targets,
                            const AdaptiveSoftmaxWeights& weights,
                            const AdaptiveSoftmaxOptions& options = {});

// Their mean, (): the training loss. While a tape records, forward computes the gradients too, which spares
// making the logits again: a quarter of the work. Error: as above; no tokens.
Tensor adaptive_softmax_loss(const Tensor& hidden, const Tensor& targets,
                             const AdaptiveSoftmaxWeights& weights,
                             const AdaptiveSoftmaxOptions& options = {});

// hidden (..., d) -> (..., V): log P of every id, for generation. No gradient, no dropout.
Tensor adaptive_log_probabilities(const Tensor& hidden, const AdaptiveSoftmaxWeights& weights);

namespace cpu {
// y[index[i]] += x[i], where no index comes twice.
void add_to_rows(const Tensor& y, const Tensor& x, const Tensor& index);
// The product with C and A beginning at these elements of their tensors, so that they may be columns of
// wider ones.
void product_at(const Tensor& c, int64_t first_c, const Tensor& a, int64_t first_a, const Tensor& b,
                const Gemm& product, const Tensor& bias);
// The columns from `first` on, of all rows.
void fill_columns(const Tensor& x, int64_t first, double value);
// y[t, first + j] = logits[t, j] - shift[t] for j < columns; shift is f64, y of the logits' parameter dtype.
void shift_logits(const Tensor& y, int64_t first, int64_t columns, const Tensor& logits, const Tensor& shift);
}  // namespace cpu

namespace cuda {
void add_to_rows(const Tensor& y, const Tensor& x, const Tensor& index);
void product_at(const Tensor& c, int64_t first_c, const Tensor& a, int64_t first_a, const Tensor& b,
                const Gemm& product, const Tensor& bias);
void fill_columns(const Tensor& x, int64_t first, double value);
void shift_logits(const Tensor& y, int64_t first, int64_t columns, const Tensor& logits, const Tensor& shift);
// Error: a CUDA graph is being captured; `why` says what cannot be part of it.
void refuse_capture(const char* why);
}  // namespace cuda

}  // namespace tandem
