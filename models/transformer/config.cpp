// The configuration of transformers: its fields, and the defaults of each model.
#include "tandem/core/check.h"
#include "tandem/models/transformer/transformer.h"

namespace tandem {

TransformerConfig TransformerConfig::of(const std::string& model) {
  TransformerConfig c;
  if (!model.empty()) c.model = model;
  c.tied = true;
  if (c.model == "transformer-xl") return c;
  if (model == "transformer") {
    c.norm = "before";
    c.positions = "absolute";
    c.attention_bias = true;
    c.output_bias = false;
    c.init_std = 0;
    return c;
  }
  TANDEM_CHECK(model == "primer" || model == "primer-ez", "transformer: {} is not a model of this kind",
               model);
  c.norm = model == "primer" ? "primer" : "before";
  c.final_norm = true;
  c.activation = "squared_relu";
  c.conv_width = 3;
  c.shared_qk = model == "primer";
  c.norm_eps = 1e-6;
  return c;
}

void TransformerConfig::fields(Fields& field) {
  token_fields(field);
  field("layers", layers);
  field("d", d);
  field("heads", heads);
  field("d_head", d_head);
  field("d_inner", d_inner);
  field("norm", norm);
  field("final_norm", final_norm);
  field("positions", positions);
  field("shared_position_bias", shared_position_bias);
  field("activation", activation);
  field("attention_bias", attention_bias);
  field("output_bias", output_bias);
  field("conv_width", conv_width);
  field("shared_qk", shared_qk);
  field("dropout", dropout);
  field("attention_dropout", attention_dropout);
  field("inner_dropout", inner_dropout);
  field("output_dropout", output_dropout);
  field("norm_eps", norm_eps);
  field("init_std", init_std);
}

}  // namespace tandem
