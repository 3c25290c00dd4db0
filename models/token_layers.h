// The two ends of a language model: from token ids to vectors, and from vectors to the losses of the next
// tokens.
#pragma once
#include <functional>

#include "models/language_model.h"

namespace tandem {

// The vocabulary of a model, as every model's configuration has it.
struct TokenConfig {
  int64_t vocabulary = 0;
  bool tied = false;  // the output's rows are the embedding's
  DType dtype = DType::f32;
  Device device;
};

// Initial values of a parameter of this shape.
using Initializer = std::function<Tensor(Shape)>;

// Token ids (T, B) i32 to scale * row, (T, B, D).
class TokenEmbedding : public Module {
 public:
  TokenEmbedding(const TokenConfig& config, int64_t d, double scale, const Initializer& rows);

  // In the dtype of activations.
  Tensor forward(const Tensor& tokens) const;
  const Tensor& rows() const { return rows_; }  // (V, D)

 private:
  double scale_;
  Tensor rows_;
};

// Vectors (..., D) to logits h W' + b, or straight to losses.
class TokenOutput : public Module {
 public:
  // Tied to `embedding` where the configuration says so. The bias starts at 0.
  TokenOutput(const TokenConfig& config, int64_t d, const TokenEmbedding& embedding, const Initializer& rows,
              bool with_bias = true);

  Tensor logits(const Tensor& h) const;                                              // (..., V)
  Tensor loss(const Tensor& h, const Tensor& targets) const;                         // mean nats, a scalar
  Tensor token_losses(const Tensor& h, const Tensor& targets) const;                 // nats, without gradient
  double forward_flops() const { return 2.0 * static_cast<double>(rows_.numel()); }  // a token

 private:
  Tensor rows_;  // (V, D)
  Tensor bias_;  // (V), undefined for none
};

}  // namespace tandem
