// Dropout around recurrent layers, their language model, and AWD's settings.
#include "tandem/models/layers/recurrent_stack.h"

#include "tandem/core/check.h"
#include "tandem/models/layered_model.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/ops/dropout.h"

namespace tandem {
namespace {

// A recurrent layer with dropout of its input and output.
class DroppedLayer : public Layer {
 public:
  DroppedLayer(std::unique_ptr<Layer> cell, double before, double after, bool variational)
      : cell_(std::move(cell)), before_(before), after_(after), variational_(variational) {
    add_child("cell", *cell_);
  }

  std::vector<std::string> state_names() const override { return cell_->state_names(); }

  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override {
    Output out = cell_->forward(drop(x, before_, options, site + kBefore), before, options, site);
    out.h = drop(out.h, after_, options, site + kAfter);
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

  Tensor drop(const Tensor& x, double p, const ForwardOptions& options, uint32_t site) const {
    const DropoutKey key = {options.seed, options.step, site};
    if (!options.training) return x;
    return variational_ ? variational_dropout(x, p, key) : dropout(x, p, key);
  }

  std::unique_ptr<Layer> cell_;
  double before_, after_;  // dropout probabilities
  bool variational_;
};

}  // namespace

void RecurrentStackConfig::stack_fields(Fields& field) {
  token_fields(field);
  field("d", d);
  field("d_embedding", d_embedding);
  field("layers", layers);
  field("input_dropout", input_dropout);
  field("dropout", dropout);
  field("output_dropout", output_dropout);
  field("variational", variational);
}

std::unique_ptr<LanguageModel> make_recurrent_stack(
    const std::string& model, const RecurrentStackConfig& config, std::string config_text, Random& random,
    const std::function<std::unique_ptr<Layer>(int64_t layer)>& make_layer) {
  TANDEM_CHECK(config.vocabulary > 0 && config.d > 0 && config.layers > 0 && config.d_embedding >= 0,
               "{}: sizes must be positive: vocabulary {}, d {}, layers {}, d of the embedding {}", model,
               config.vocabulary, config.d, config.layers, config.d_embedding);
  check_layer_count(model, config.layers);
  for (const double p : {config.input_dropout, config.dropout, config.output_dropout})
    TANDEM_CHECK(p >= 0 && p < 1, "{}: dropout {} must be in [0, 1)", model, p);
  const Initializer rows = [&random, &config](Shape shape) { return uniform(random, shape, 0.1, config); };
  const FrameConfig frame = {.input_width = config.input_width(0),
                             .output_width = config.output_width(config.layers - 1)};
  const auto add_layers = [&config, &make_layer](Layers& layers) {
    for (int64_t i = 0; i < config.layers; ++i) {
      const bool last = i + 1 == config.layers;
      layers.push_back(std::make_unique<DroppedLayer>(make_layer(i), i == 0 ? config.input_dropout : 0,
                                                      last ? config.output_dropout : config.dropout,
                                                      config.variational));
    }
  };
  return std::make_unique<LayeredModel>(config, std::move(config_text), frame, rows, add_layers);
}

void set_awd(RecurrentStackConfig& config, int64_t layers, int64_t d, double input_dropout, double dropout,
             double output_dropout) {
  config.tied = true;
  config.layers = layers;
  config.d = d;
  config.d_embedding = 400;
  config.input_dropout = input_dropout;
  config.dropout = dropout;
  config.output_dropout = output_dropout;
  config.variational = true;
}

Recipe awd_recipe(int64_t batch_size, int64_t unroll, int64_t steps, double clip) {
  return {.batch_size = batch_size,
          .unroll = unroll,
          .eval_window = unroll,
          .eval_batch_size = 10,
          .optimizer = "adamw",
          .lr = 1e-3,
          .steps = steps,
          .weight_decay = 0,
          .clip = clip};
}

}  // namespace tandem
