// LSTM language models: the baseline that every newer recurrence is compared with (ops/lstm.h has the
// equations).
#pragma once
#include "models/layers/recurrent_stack.h"
#include "ops/lstm.h"

namespace tandem {

struct LstmConfig : RecurrentStackConfig {
  std::string text() const;
  static LstmConfig from_text(const std::string& text);
};

// Weights and both biases start uniform within 1 / sqrt(output), as PyTorch's do.
class LstmLayer : public Layer {
 public:
  // Of `config` the dtype and device count.
  LstmLayer(int64_t input, int64_t output, const TokenConfig& config, Random& random);

  std::vector<std::string> state_names() const override { return {"h", "c"}; }  // (B, output) both
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& pass,
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
