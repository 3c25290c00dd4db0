// Dropout around recurrent layers, and their language model.
#include "models/layers/recurrent_stack.h"

#include "core/check.h"
#include "models/layered_model.h"
#include "models/layers/initial_values.h"
#include "ops/dropout.h"

namespace tandem {
namespace {

// A recurrent layer with dropout of what goes in and of what comes out.
class DroppedLayer : public Layer {
 public:
  DroppedLayer(std::unique_ptr<Layer> cell, double before, double after, bool variational)
      : cell_(std::move(cell)), before_(before), after_(after), variational_(variational) {
    add_child("cell", *cell_);
  }

  std::vector<std::string> state_names() const override { return cell_->state_names(); }

  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& pass,
                 uint32_t site) const override {
    Output out = cell_->forward(drop(x, before_, pass, site + kBefore), before, pass, site);
    out.h = drop(out.h, after_, pass, site + kAfter);
    return out;
  }

  std::unique_ptr<LayerDecoder> decoder(int64_t batch, const AttentionContext& context) const override {
    return cell_->decoder(batch, context);
  }

  double forward_flops(int64_t steps, int64_t memory) const override {
    return cell_->forward_flops(steps, memory);
  }

 private:
  enum Site : uint32_t { kCell, kBefore, kAfter };

  Tensor drop(const Tensor& x, double p, const ForwardOptions& pass, uint32_t site) const {
    const DropoutKey key = {pass.seed, pass.step, site};
    if (!pass.training) return x;
    return variational_ ? variational_dropout(x, p, key) : dropout(x, p, key);
  }

  std::unique_ptr<Layer> cell_;
  double before_, after_;
  bool variational_;
};

}  // namespace

std::unique_ptr<LanguageModel> make_recurrent_stack(
    const std::string& kind, const RecurrentStackConfig& config, std::string config_text, Random& random,
    const std::function<std::unique_ptr<Layer>(int64_t layer)>& make_layer) {
  CHECK(config.vocabulary > 0 && config.d > 0 && config.layers > 0 && config.d_embedding >= 0,
        "{}: sizes must be positive: vocabulary {}, d {}, layers {}, d of the embedding {}", kind,
        config.vocabulary, config.d, config.layers, config.d_embedding);
  for (const double p : {config.input_dropout, config.dropout, config.output_dropout})
    CHECK(p >= 0 && p < 1, "{}: dropout {} must be in [0, 1)", kind, p);
  const Initializer rows = [&random, &config](Shape shape) { return uniform(random, shape, 0.1, config); };
  LayeredModel::Parts parts;
  parts.embedding = std::make_unique<TokenEmbedding>(config, config.input_width(0), 1, rows);
  for (int64_t i = 0; i < config.layers; ++i) {
    const bool last = i + 1 == config.layers;
    parts.layers.push_back(std::make_unique<DroppedLayer>(make_layer(i), i == 0 ? config.input_dropout : 0,
                                                          last ? config.output_dropout : config.dropout,
                                                          config.variational));
  }
  parts.output =
      std::make_unique<TokenOutput>(config, config.output_width(config.layers - 1), *parts.embedding, rows);
  parts.vocabulary = config.vocabulary;
  parts.config = std::move(config_text);
  return std::make_unique<LayeredModel>(std::move(parts));
}

}  // namespace tandem
