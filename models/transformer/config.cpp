// The transformers' configuration as JSON, and what each model's name stands for.
#include "core/check.h"
#include "models/config_fields.h"
#include "models/transformer/transformer.h"

namespace tandem {
namespace {

template <class Visitor, class Config>
void visit(Visitor& v, Config& c) {
  visit_tokens(v, c);
  v("layers", c.layers);
  v("d", c.d);
  v("heads", c.heads);
  v("d_head", c.d_head);
  v("d_inner", c.d_inner);
  v("norm", c.norm);
  v("final_norm", c.final_norm);
  v("positions", c.positions);
  v("shared_position_bias", c.shared_position_bias);
  v("activation", c.activation);
  v("attention_bias", c.attention_bias);
  v("output_bias", c.output_bias);
  v("conv_width", c.conv_width);
  v("shared_qk", c.shared_qk);
  v("dropout", c.dropout);
  v("attention_dropout", c.attention_dropout);
  v("inner_dropout", c.inner_dropout);
  v("output_dropout", c.output_dropout);
  v("norm_eps", c.norm_eps);
  v("init_std", c.init_std);
}

}  // namespace

TransformerConfig TransformerConfig::of(const std::string& model) {
  TransformerConfig c;
  c.model = model;
  c.tied = true;
  if (model == "transformer-xl") return c;
  if (model == "transformer") {
    c.norm = "before";
    c.positions = "absolute";
    c.attention_bias = true;
    c.output_bias = false;
    c.init_std = 0;
    return c;
  }
  CHECK(model == "primer" || model == "primer-ez", "transformer: {} is not a model of this kind", model);
  c.norm = model == "primer" ? "primer" : "before";
  c.final_norm = true;
  c.activation = "squared_relu";
  c.conv_width = 3;
  c.shared_qk = model == "primer";
  c.norm_eps = 1e-6;
  return c;
}

std::string TransformerConfig::text() const {
  FieldWriter writer(model);
  visit(writer, *this);
  return writer.text();
}

TransformerConfig TransformerConfig::from_text(const std::string& text) {
  const std::string named = model_of_config(text);
  TransformerConfig config = of(named.empty() ? "transformer-xl" : named);
  FieldReader reader(config.model, text);
  visit(reader, config);
  reader.finish();
  return config;
}

}  // namespace tandem
