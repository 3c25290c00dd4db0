// LayeredModel: embedding, dropout, a stack of layers, dropout, output. All language models here have this
// frame.
#pragma once
#include <functional>

#include "tandem/models/layer.h"
#include "tandem/models/layers/token_layers.h"

namespace tandem {

using Layers = std::vector<std::unique_ptr<Layer>>;

// What a model says about the frame around its layers.
struct FrameConfig {
  int64_t input_width = 0;     // width of the embedding
  int64_t output_width = 0;    // width of the last layer's output
  double embedding_scale = 1;  // factor of the embedding's rows
  bool output_bias = true;
  double input_dropout = 0;   // after the embedding
  double output_dropout = 0;  // before the output layer
};

// Refuses counts of layers that are a mistake or an attack, before any is made. Error naming the model: fewer than 1 or
// more than 10,000.
void check_layer_count(const std::string& model, int64_t layers);

class LayeredModel : public LanguageModel {
 public:
  // Draws initial values in this order: the embedding, the layers that `add_layers` appends, the output.
  // `config_text` is the text of config().
  LayeredModel(const TokenConfig& tokens, std::string config_text, const FrameConfig& frame,
               const TokenInitializers& values, const std::function<void(Layers& layers)>& add_layers);

  Tensor logits(const Tensor& tokens, State& state, const ForwardOptions& options) const override;
  Tensor loss(const Tensor& tokens, const Tensor& targets, State& state,
              const ForwardOptions& options) const override;
  Tensor token_losses(const Tensor& tokens, const Tensor& targets, State& state,
                      const ForwardOptions& options) const override;
  std::unique_ptr<Decoder> decoder(int64_t batch, const AttentionContext& context) const override;
  bool carries_state() const override;
  double forward_flops(int64_t steps, int64_t memory) const override;
  std::vector<int64_t> cutoffs() const override { return output_->cutoffs(); }
  std::vector<Tensor> softmax_logits(const Tensor& tokens, State& state,
                                     const ForwardOptions& options) const override;
  int64_t vocabulary_size() const override { return vocabulary_; }
  DType dtype() const override { return embedding_->rows().dtype(); }
  Device device() const override { return embedding_->rows().device(); }
  std::string config() const override { return config_text_; }

 private:
  class StepDecoder;

  // Returns the input of the output layer, (T, B, D).
  Tensor hidden(const Tensor& tokens, State& state, const ForwardOptions& options) const;

  FrameConfig frame_;
  int64_t vocabulary_;
  std::string config_text_;
  std::unique_ptr<TokenEmbedding> embedding_;
  Layers layers_;
  std::unique_ptr<TokenOutput> output_;
};

}  // namespace tandem
