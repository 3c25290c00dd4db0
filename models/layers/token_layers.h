// The two ends of a language model: from token ids to vectors, and from vectors to the losses of the next
// tokens. With cutoffs, both are adaptive: rare words get fewer features (ops/adaptive_softmax.h).
#pragma once
#include <functional>
#include <string>

#include "models/language_model.h"
#include "ops/adaptive_embedding.h"
#include "ops/adaptive_softmax.h"

namespace tandem {

// The vocabulary of a model, as every model's configuration has it.
struct TokenConfig {
  int64_t vocabulary = 0;
  bool tied = false;  // the output's rows are the embedding's

  // Ascending ends of all clusters of ids but the last; none: one table and a full softmax.
  std::vector<int64_t> cutoffs = {};
  int64_t band_width = 0;    // features of cluster 0; 0: d
  int64_t band_divisor = 1;  // cluster i has band_width / band_divisor^i features
  // "projected": a projection wherever the widths call for one, biases, cluster rows beside those of cluster 0
  //     (Transformer-XL's and SRU++'s code)
  // "baevski": projections of all clusters at the input, of all but cluster 0 at the output; no biases (fairseq)
  // "pytorch": a plain embedding; at the output as "baevski" (AdaptiveLogSoftmaxWithLoss)
  std::string adaptive = "projected";
  std::string tied_projections = "none";  // or "tails": of all clusters but the first; or "all"
  double band_dropout =
      0;  // of a cluster's features: behind the rows at the input, before them at the output

  DType dtype = DType::f32;
  Device device;

  // Error: what does not fit, such as a name that is none of those above, or clusters without features.
  void check(int64_t d) const;
};

// Initial values of a parameter of this shape.
using Initializer = std::function<Tensor(Shape)>;

struct TokenInitializers {
  Initializer rows;         // (n, d_i), of clusters too
  Initializer projections;  // (d, d_i)
  // One for both: an Initializer will do where these are asked for.
  TokenInitializers(Initializer all) : rows(all), projections(std::move(all)) {}
  TokenInitializers(Initializer rows, Initializer projections)
      : rows(std::move(rows)), projections(std::move(projections)) {}
};

// Token ids (T, B) i32 to scale * row, (T, B, D).
class TokenEmbedding : public Module {
 public:
  // Dropout sites: one.
  TokenEmbedding(const TokenConfig& config, int64_t d, double scale, const TokenInitializers& values);

  // In the dtype of activations.
  Tensor forward(const Tensor& tokens, const ForwardOptions& pass, uint32_t site) const;
  const AdaptiveEmbeddingWeights& weights() const { return weights_; }
  const Tensor& rows() const { return weights_.rows[0]; }  // of cluster 0; (V, D) where there is one table

 private:
  double scale_, dropout_;
  AdaptiveEmbeddingWeights weights_;
};

// Vectors (..., D) to logits h W' + b, or straight to losses.
class TokenOutput : public Module {
 public:
  // Tied to `embedding` where the configuration says so. Biases start at 0.
  TokenOutput(const TokenConfig& config, int64_t d, const TokenEmbedding& embedding,
              const TokenInitializers& values, bool with_bias = true);

  Tensor logits(const Tensor& h) const;  // (..., V); of an adaptive softmax, log-probabilities
  Tensor loss(const Tensor& h, const Tensor& targets, const ForwardOptions& pass,
              uint32_t site) const;                                   // mean nats
  Tensor token_losses(const Tensor& h, const Tensor& targets) const;  // nats, without gradient
  // A token; a tail cluster has its share of the tokens by Zipf's law, log(end / begin) / log V.
  double forward_flops() const;

 private:
  bool adaptive_;
  double dropout_;
  AdaptiveSoftmaxWeights weights_;
};

}  // namespace tandem
