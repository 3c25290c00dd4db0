// adaptive_softmax: adaptive_softmax_loss, _nll and log-probabilities, in which rare words cost less.
//
// The ids, most frequent first, are cut into clusters. Cluster 0 and one logit for each further cluster form a
// softmax, the head. Each further cluster, a tail, has a softmax of its own over fewer features, through which
// only its own tokens go:
//
//     w in cluster 0:  P(w | h) = P_head(w | h)
//     w in a tail:     P(w | h) = P_head(tail | h) P_tail(w | h)
//
// The logits never exist for all tokens at once: they are computed, used and overwritten for a block of tokens
// at a time.
// Grave et al., "Efficient softmax approximation for GPUs" (ICML 2017). With projections, biases and tied
// weights: Transformer-XL (Dai et al., ACL 2019). Without biases: Baevski and Auli, "Adaptive input
// representations" (ICLR 2019).
#pragma once
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/gemm/gemm.h"

namespace tandem {

// The weights for d features, V ids and J cutoffs. An adaptive_embedding may use the same tables and
// projections. PyTorch stores projections as (d_i, d), and the table of cluster 0 together with cluster_rows in
// one matrix.
struct AdaptiveSoftmaxWeights {
  std::vector<int64_t> cutoffs;     // ascending ends of clusters 0 .. J - 1; J ends at V; empty: one softmax
  std::vector<Tensor> rows;         // the tables: (n_i, d_i) for each cluster, or one (V, d_0) for all
  std::vector<Tensor> biases;       // (n_i) or undefined for each table; empty: none
  std::vector<Tensor> projections;  // (d, d_i) for each cluster, or undefined if d_i is d; empty: none
  Tensor cluster_rows;              // (J, d_0), cluster weights: row j gives the head's logit of tail j + 1
  Tensor cluster_bias;              // (J) or undefined
  bool reversed_clusters = false;   // row J - 1 - j gives that logit, as in Transformer-XL's PyTorch code
};

struct AdaptiveSoftmaxOptions {
  // Probability of dropping a projected feature. Each cluster has its own mask.
  double dropout = 0;
  DropoutKey key = {};
  // Number of logits in memory at a time, about.
  int64_t logits_at_once = int64_t{1} << 25;
};

// Computes the loss of each token in nats, (...), from hidden (..., d) and targets (...) i32. Backward computes
// the logits again. The result has hidden's dtype, or f32 for bf16; the weights may have either.
// On a GPU the call waits for the device once, because the numbers of tokens in the clusters are sizes of
// products.
// Error: shapes, dtypes or devices that do not fit; cutoffs as in vocabulary_clusters(); a target outside 0 ..
// V - 1 (the message names value and position); the call is part of a CUDA graph's capture.
Tensor adaptive_softmax_nll(const Tensor& hidden, const Tensor& targets,
                            const AdaptiveSoftmaxWeights& weights,
                            const AdaptiveSoftmaxOptions& options = {});

// Computes the mean of those losses, (), for training. While a tape records, forward computes the gradients
// too, because computing the logits again would cost a quarter of the work. Error: as above; no tokens.
Tensor adaptive_softmax_loss(const Tensor& hidden, const Tensor& targets,
                             const AdaptiveSoftmaxWeights& weights,
                             const AdaptiveSoftmaxOptions& options = {});

// Computes log P of every id, (..., V), from hidden (..., d), for generation: without gradient and dropout.
// Error: as above.
Tensor adaptive_log_probabilities(const Tensor& hidden, const AdaptiveSoftmaxWeights& weights);

namespace cpu {
// y[index[i]] += x[i]. No index may occur twice.
void add_to_rows(const Tensor& y, const Tensor& x, const Tensor& index);
// Computes a product whose C and A begin at the given elements of their tensors, so that they may be columns of
// wider ones.
void product_at(const Tensor& c, int64_t first_c, const Tensor& a, int64_t first_a, const Tensor& b,
                const Gemm& product, const Tensor& bias);
// Fills the columns of x from `first` on, in all rows.
void fill_columns(const Tensor& x, int64_t first, double value);
// y[t, first + j] = logits[t, j] - shift[t] for j < columns. shift is f64; y has parameter_dtype() of the
// logits' dtype.
void shift_logits(const Tensor& y, int64_t first, int64_t columns, const Tensor& logits, const Tensor& shift);
}  // namespace cpu

namespace cuda {
void add_to_rows(const Tensor& y, const Tensor& x, const Tensor& index);
void product_at(const Tensor& c, int64_t first_c, const Tensor& a, int64_t first_a, const Tensor& b,
                const Gemm& product, const Tensor& bias);
void fill_columns(const Tensor& x, int64_t first, double value);
void shift_logits(const Tensor& y, int64_t first, int64_t columns, const Tensor& logits, const Tensor& shift);
// Error: a CUDA graph is being captured. `why` says what cannot be part of it.
void refuse_capture(const char* why);
}  // namespace cuda

}  // namespace tandem
