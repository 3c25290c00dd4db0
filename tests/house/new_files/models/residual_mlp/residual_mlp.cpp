// residual-mlp: a language model that sees the current token alone, h = x + W_2 hardtanh(W_1 x) in each layer.
#include <cmath>

#include "models/layers/initial_values.h"
#include "models/layers/recurrent_stack.h"
#include "models/registry.h"
#include "ops/arithmetic.h"
#include "ops/hardtanh.h"
#include "ops/linear.h"

namespace tandem {
namespace {

struct ResidualMlpConfig : Configured<ResidualMlpConfig, RecurrentStackConfig> {
  std::string model_name() const { return "residual-mlp"; }
  void fields(Fields& field) { stack_fields(field); }
};

class ResidualMlpLayer : public Layer {
 public:
  ResidualMlpLayer(int64_t d, const TokenConfig& config, Random& random) {
    const double bound = 1 / std::sqrt(static_cast<double>(d));
    inner_ = add_parameter("inner.weight", uniform(random, {d, d}, bound, config));
    outer_ = add_parameter("outer.weight", uniform(random, {d, d}, bound, config));
  }

  std::vector<std::string> state_names() const override { return {}; }
  Output forward(const Tensor& x, const LayerState&, const ForwardOptions&, uint32_t) const override {
    return {add(x, linear(hardtanh(linear(x, inner_)), outer_)), {}};
  }
  double forward_flops(int64_t, int64_t) const override {
    return 2.0 * static_cast<double>(inner_.numel() + outer_.numel());
  }

 private:
  Tensor inner_, outer_;  // (d, d)
};

std::unique_ptr<LanguageModel> make_residual_mlp(const ResidualMlpConfig& config, uint64_t seed) {
  Random random(seed);
  return make_recurrent_stack(
      config.model_name(), config, config.text(), random,
      [&config, &random](int64_t) { return std::make_unique<ResidualMlpLayer>(config.d, config, random); });
}

std::vector<Preset> residual_mlp_presets() {
  ResidualMlpConfig laptop;
  laptop.d = 128;
  laptop.layers = 2;
  return {{"laptop", laptop.text(), laptop_recipe(3e-3, 1000),
           "an example: knows one byte and guesses the next"}};
}

}  // namespace
}  // namespace tandem

TANDEM_MODELS(residual_mlp) {
  register_model("residual-mlp", make_residual_mlp, residual_mlp_presets);
}
