// mingru: a language model of minGRU layers (Feng et al., "Were RNNs all we needed?", arXiv 2410.01201), composed of Tandem's
// operators, and its registration, which makes it known to all programs.
#include <cmath>

#include "tandem/models/layers/initial_values.h"
#include "tandem/models/layers/recurrent_stack.h"
#include "tandem/models/registry.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/linear_scan.h"

namespace prototype {
using namespace tandem;

// h_t = (1 - z_t) h_{t-1} + z_t g(W_h x_t),  z_t = sigmoid(W_z x_t),  g(a) = a + 1/2 for a >= 0, else sigmoid(a)
class MinGruLayer : public Layer {
 public:
  MinGruLayer(int64_t input, int64_t output, const TokenConfig& config, Random& random) {
    const double bound = 1 / std::sqrt(static_cast<double>(input));
    gate_ = add_parameter("gate.weight", uniform(random, {output, input}, bound, config));
    gate_bias_ = add_parameter("gate.bias", uniform(random, {output}, bound, config));
    candidate_ = add_parameter("candidate.weight", uniform(random, {output, input}, bound, config));
    candidate_bias_ = add_parameter("candidate.bias", uniform(random, {output}, bound, config));
  }
  std::vector<std::string> state_names() const override { return {"h"}; }  // (B, output)
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions&, uint32_t) const override {
    const LinearScanResult scan =
        linear_scan(linear(x, gate_, gate_bias_), linear(x, candidate_, candidate_bias_), part(before, 0),
                    ScanForm::min_gru);
    return {scan.h, {scan.h_last.detach()}};
  }
  double forward_flops(int64_t, int64_t) const override { return 4.0 * static_cast<double>(gate_.numel()); }

 private:
  Tensor gate_, gate_bias_, candidate_, candidate_bias_;  // (output, input) and (output), twice
};

struct MinGruConfig : Configured<MinGruConfig, RecurrentStackConfig> {
  std::string model_name() const { return "mingru"; }
  void fields(Fields& field) { stack_fields(field); }
};

std::vector<Preset> mingru_presets() {
  return {{"laptop", MinGruConfig().text(), laptop_recipe(5e-3, 10000), "three layers of 512"}};
}

}  // namespace prototype

TANDEM_MODELS(mingru) {
  using namespace prototype;
  register_model("mingru", make_recurrent_stack<MinGruLayer, MinGruConfig>, mingru_presets);
}
