// RecurrentModel: embedding, dropout, a stack of recurrent layers, dropout, output layer: the frame that SRU
// and SRU++ language models share. No final norm, no scaling of the embedding, embedding and output untied.
#pragma once
#include "models/recurrent_layer.h"

namespace tandem {

class RecurrentModel : public LanguageModel {
 public:
  struct Parts {
    Tensor embedding;    // (V, D)
    Tensor output;       // (V, D_last)
    Tensor output_bias;  // (V)
    std::vector<std::unique_ptr<RecurrentLayer>> layers;
    double dropout = 0;
    std::string config;
  };
  explicit RecurrentModel(Parts parts);

  Tensor logits(const Tensor& tokens, State& state, const Pass& pass) const override;
  std::unique_ptr<Decoder> decoder(int64_t batch, int64_t visible_keys) const override;
  double forward_flops(int64_t steps) const override;
  int64_t vocabulary_size() const override { return parts_.embedding.size(0); }
  DType dtype() const override { return parts_.embedding.dtype(); }
  Device device() const override { return parts_.embedding.device(); }
  std::string config() const override { return parts_.config; }

 private:
  class StepDecoder;

  Parts parts_;
};

}  // namespace tandem
