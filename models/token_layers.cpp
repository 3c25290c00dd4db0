// Embedding and output layer.
#include "models/token_layers.h"

#include "autograd/tape.h"
#include "core/array.h"
#include "core/check.h"
#include "ops/arithmetic.h"
#include "ops/cross_entropy.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/weights.h"

namespace tandem {

TokenEmbedding::TokenEmbedding(const TokenConfig& config, int64_t d, double scale, const Initializer& rows)
    : scale_(scale), rows_(add_parameter("weight", rows({config.vocabulary, d}))) {}

Tensor TokenEmbedding::forward(const Tensor& tokens) const {
  const Tensor x = embedding(tokens, rows_, activation_dtype(rows_));
  return scale_ == 1 ? x : scale(x, scale_);
}

TokenOutput::TokenOutput(const TokenConfig& config, int64_t d, const TokenEmbedding& embedding,
                         const Initializer& rows, bool with_bias) {
  rows_ = config.tied ? embedding.rows() : add_parameter("weight", rows({config.vocabulary, d}));
  CHECK(rows_.size(1) == d, "output: tied to an embedding of width {}, but the last layer's width is {}",
        rows_.size(1), d);
  if (with_bias) bias_ = add_parameter("bias", zeros({config.vocabulary}, config.dtype, config.device));
}

Tensor TokenOutput::logits(const Tensor& h) const {
  return linear(h, rows_, bias_);
}

Tensor TokenOutput::loss(const Tensor& h, const Tensor& targets) const {
  return cross_entropy_in_place(logits(h), targets);
}

Tensor TokenOutput::token_losses(const Tensor& h, const Tensor& targets) const {
  NoGrad pause;
  return token_nll(logits(h), targets).alias_shape(targets.shape());
}

}  // namespace tandem
