// The SRU++ configuration as JSON.
#include "models/config_fields.h"
#include "models/srupp/srupp.h"

namespace tandem {
namespace {

template <class Visitor, class Config>
void visit(Visitor& v, Config& c) {
  visit_tokens(v, c);
  v("d", c.d);
  v("d_projected", c.d_projected);
  v("layers", c.layers);
  v("heads", c.heads);
  v("attention_every", c.attention_every);
  v("attention_last", c.attention_last);
  v("dropout", c.dropout);
  v("attention_dropout", c.attention_dropout);
  v("highway_bias", c.highway_bias);
  v("conv_width", c.conv_width);
}

}  // namespace

std::string SruppConfig::text() const {
  FieldWriter writer("srupp");
  visit(writer, *this);
  return writer.text();
}

SruppConfig SruppConfig::from_text(const std::string& text) {
  SruppConfig config;
  FieldReader reader("srupp", text);
  visit(reader, config);
  reader.finish();
  return config;
}

}  // namespace tandem
