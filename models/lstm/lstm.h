// LSTM language models, the baseline of newer recurrences. ops/lstm.h has the equations and the source,
// models/layers/recurrent_stack.h what surrounds the layers.
#pragma once
#include "tandem/models/layers/recurrent_stack.h"
#include "tandem/ops/lstm.h"

namespace tandem {

struct LstmConfig : Configured<LstmConfig, RecurrentStackConfig> {
  std::string model_name() const { return "lstm"; }
  void fields(Fields& field) { stack_fields(field); }
};

// Weights and both biases start uniform in (-1 / sqrt(output), 1 / sqrt(output)), as in PyTorch.
class LstmLayer : public Layer {
 public:
  // Maps width `input` to width `output`. `config` gives the dtype and the device.
  LstmLayer(int64_t input, int64_t output, const TokenConfig& config, Random& random);

  std::vector<std::string> state_names() const override { return {"h", "c"}; }  // (B, output) both
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override;
  double forward_flops(int64_t, int64_t) const override {
    return 2.0 * static_cast<double>(weights_.input.numel() + weights_.hidden.numel());
  }

 private:
  LstmWeights weights_;
};

// Error: see make_recurrent_stack().
std::unique_ptr<LanguageModel> make_lstm(const LstmConfig& config, uint64_t seed);

}  // namespace tandem
