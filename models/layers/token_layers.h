// The two ends of a language model: from token ids to vectors, and from vectors to the losses of the next
// tokens. With cutoffs both are adaptive: rare words get fewer features (ops/adaptive_softmax.h).
#pragma once
#include <functional>
#include <string>

#include "tandem/models/config_fields.h"
#include "tandem/models/language_model.h"
#include "tandem/ops/adaptive_embedding.h"
#include "tandem/ops/adaptive_softmax.h"

namespace tandem {

// The vocabulary of a model, part of every model's configuration. cutoffs, d_embed, div_val and tie_projs are
// named as in Transformer-XL's code. Where the JSON key differs, it is given in quotes.
struct TokenConfig {
  int64_t vocabulary = 0;
  bool tied = false;  // the output uses the embedding's rows

  // Ends of all clusters of ids but the last, ascending. Empty: one table and a full softmax.
  std::vector<int64_t> cutoffs = {};
  int64_t d_embed = 0;  // "band_width": features of cluster 0; 0: d
  int64_t div_val = 1;  // "band_divisor": cluster i has d_embed / div_val^i features
  // Form of the adaptive layers:
  //   "projected"  projections wherever the widths differ, biases, cluster logits from cluster 0's features
  //                (Transformer-XL's and SRU++'s code)
  //   "baevski"    projections of all clusters in the embedding, of all but cluster 0 in the output; no biases
  //                (fairseq)
  //   "pytorch"    a plain embedding; the output of "baevski" (AdaptiveLogSoftmaxWithLoss)
  std::string adaptive = "projected";
  std::string tie_projs = "none";  // "tied_projections": or "tails", all clusters but the first; or "all"
  // "band_dropout": dropout of each cluster's features, after the lookup in the embedding and before the
  // logits in the softmax.
  double cluster_dropout = 0;

  DType dtype = DType::f32;
  Device device;

  // Error: an unknown name, clusters without words or features, options that contradict each other.
  void check(int64_t d) const;
  // The fields of this struct but the device, for the fields() of a configuration.
  void token_fields(Fields& field);
};

// Returns the initial value of a parameter of this shape.
using Initializer = std::function<Tensor(Shape)>;

struct TokenInitializers {
  Initializer rows;         // (n, d_i): embedding and output rows, those of clusters too
  Initializer projections;  // (d, d_i)
  // Implicit: the same initializer for rows and projections.
  TokenInitializers(Initializer all) : rows(all), projections(std::move(all)) {}
  TokenInitializers(Initializer rows, Initializer projections)
      : rows(std::move(rows)), projections(std::move(projections)) {}
};

// Maps token ids (T, B) i32 to scale * row, (T, B, D).
class TokenEmbedding : public Module {
 public:
  TokenEmbedding(const TokenConfig& config, int64_t d, double scale, const TokenInitializers& values);

  // Returns vectors in the dtype of activations. `site` is the dropout site of the clusters' features.
  Tensor forward(const Tensor& tokens, const ForwardOptions& options, uint32_t site) const;
  const AdaptiveEmbeddingWeights& weights() const { return weights_; }
  const Tensor& rows() const { return weights_.rows[0]; }  // those of cluster 0; (V, D) if there is one table

 private:
  double scale_, dropout_;
  AdaptiveEmbeddingWeights weights_;
};

// Maps vectors (..., D) to logits h W' + b, or straight to losses.
class TokenOutput : public Module {
 public:
  // Uses the embedding's rows where the configuration ties them. Biases start at 0.
  TokenOutput(const TokenConfig& config, int64_t d, const TokenEmbedding& embedding,
              const TokenInitializers& values, bool with_bias = true);

  // Returns logits (..., V); with an adaptive softmax, log-probabilities.
  Tensor logits(const Tensor& h) const;
  // Returns the logits (N, n_i) of all N tokens in each softmax, the head first, with gradient, where an adaptive softmax
  // computes those of a tail for its own tokens alone. `site` is as below.
  std::vector<Tensor> softmax_logits(const Tensor& h, const ForwardOptions& options, uint32_t site) const;
  const std::vector<int64_t>& cutoffs() const { return weights_.cutoffs; }
  // Returns the mean loss in nats. `site` is the dropout site of the clusters' features.
  Tensor loss(const Tensor& h, const Tensor& targets, const ForwardOptions& options, uint32_t site) const;
  // Returns the loss of each target in nats, shaped as targets, without gradient.
  Tensor token_losses(const Tensor& h, const Tensor& targets) const;
  // Returns the operations per token. A tail cluster is computed for its share of the tokens by Zipf's law,
  // log(end / begin) / log V.
  double forward_flops() const;

 private:
  bool adaptive_;
  double dropout_;
  AdaptiveSoftmaxWeights weights_;
};

}  // namespace tandem
