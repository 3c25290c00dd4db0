// The LSTM layer and its language model.
#include "tandem/models/lstm/lstm.h"

#include <cmath>

#include "tandem/models/layers/initial_values.h"

namespace tandem {

LstmLayer::LstmLayer(int64_t input, int64_t output, const TokenConfig& config, Random& random) {
  const double bound = 1 / std::sqrt(static_cast<double>(output));
  const auto parameter = [this, bound, &config, &random](const char* name, Shape shape) {
    return add_parameter(name, uniform(random, shape, bound, config));
  };
  weights_.input = parameter("input.weight", {4 * output, input});
  weights_.hidden = parameter("hidden.weight", {4 * output, output});
  weights_.input_bias = parameter("input.bias", {4 * output});
  weights_.hidden_bias = parameter("hidden.bias", {4 * output});
}

Layer::Output LstmLayer::forward(const Tensor& x, const LayerState& before, const ForwardOptions&,
                                 uint32_t) const {
  const Tensor h = part(before, 0);  // in another dtype if a run in another precision left it
  const LstmResult y = lstm(x, weights_, h.defined() ? h.to(x.dtype()) : h, part(before, 1));
  return {y.h, {y.h_last, y.c_last}};
}

std::unique_ptr<LanguageModel> make_lstm(const LstmConfig& config, uint64_t seed) {
  return make_recurrent_stack<LstmLayer>(config, seed);
}

}  // namespace tandem
