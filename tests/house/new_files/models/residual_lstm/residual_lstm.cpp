// residual-lstm: LSTM layers in residual sums, h = x + hardtanh(W lstm(x)).
#include <cmath>

#include "tandem/models/layers/initial_values.h"
#include "tandem/models/lstm/lstm.h"
#include "tandem/models/registry.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/hardtanh.h"
#include "tandem/ops/linear.h"

namespace tandem {
namespace {

struct ResidualLstmConfig : Configured<ResidualLstmConfig, RecurrentStackConfig> {
  std::string model_name() const { return "residual-lstm"; }
  void fields(Fields& field) { stack_fields(field); }
};

class ResidualLstmLayer : public Layer {
 public:
  ResidualLstmLayer(int64_t d, const TokenConfig& config, Random& random) : lstm_(d, d, config, random) {
    add_child("lstm", lstm_);
    weight_ = add_parameter("weight", uniform(random, {d, d}, 1 / std::sqrt(static_cast<double>(d)), config));
  }

  std::vector<std::string> state_names() const override { return lstm_.state_names(); }
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override {
    Output out = lstm_.forward(x, before, options, site);
    out.h = add(x, hardtanh(linear(out.h, weight_)));
    return out;
  }
  double forward_flops(int64_t steps, int64_t memory) const override {
    return lstm_.forward_flops(steps, memory) + 2.0 * static_cast<double>(weight_.numel());
  }

 private:
  LstmLayer lstm_;
  Tensor weight_;  // (d, d)
};

std::unique_ptr<LanguageModel> make_residual_lstm(const ResidualLstmConfig& config, uint64_t seed) {
  Random random(seed);
  return make_recurrent_stack(
      config.model_name(), config, config.text(), random,
      [&config, &random](int64_t) { return std::make_unique<ResidualLstmLayer>(config.d, config, random); });
}

std::vector<Preset> residual_lstm_presets() {
  ResidualLstmConfig laptop;
  laptop.d = 128;
  laptop.layers = 2;
  return {{"laptop", laptop.text(), laptop_recipe(6e-3, 1000), "an example for the checks of the tree"}};
}

}  // namespace
}  // namespace tandem

TANDEM_MODELS(residual_lstm) {
  register_model("residual-lstm", make_residual_lstm, residual_lstm_presets);
}
