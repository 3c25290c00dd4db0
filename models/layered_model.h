// LayeredModel: embedding, dropout, a stack of layers, dropout, output: the frame that all language models
// here share.
#pragma once
#include "models/layer.h"
#include "models/layers/token_layers.h"

namespace tandem {

class LayeredModel : public LanguageModel {
 public:
  struct Parts {
    std::unique_ptr<TokenEmbedding> embedding;
    std::vector<std::unique_ptr<Layer>> layers;
    std::unique_ptr<TokenOutput> output;
    int64_t vocabulary = 0;
    double input_dropout = 0, output_dropout = 0;  // elementwise
    std::string config;
  };
  explicit LayeredModel(Parts parts);

  Tensor logits(const Tensor& tokens, State& state, const ForwardOptions& pass) const override;
  Tensor loss(const Tensor& tokens, const Tensor& targets, State& state,
              const ForwardOptions& pass) const override;
  Tensor token_losses(const Tensor& tokens, const Tensor& targets, State& state,
                      const ForwardOptions& pass) const override;
  std::unique_ptr<Decoder> decoder(int64_t batch, const AttentionContext& context) const override;
  bool carries_state() const override;
  State waiting(State state) const override;
  double forward_flops(int64_t steps, int64_t memory) const override;
  int64_t vocabulary_size() const override { return parts_.vocabulary; }
  DType dtype() const override { return parts_.embedding->rows().dtype(); }
  Device device() const override { return parts_.embedding->rows().device(); }
  std::string config() const override { return parts_.config; }

 private:
  class StepDecoder;

  // What the output layer gets, (T, B, D).
  Tensor hidden(const Tensor& tokens, State& state, const ForwardOptions& pass) const;

  Parts parts_;
};

}  // namespace tandem
