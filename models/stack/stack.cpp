// Stacks of layers from a list in text.
#include "tandem/models/stack/stack.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tandem/core/check.h"
#include "tandem/core/utf8.h"
#include "tandem/models/gated_deltanet/gated_deltanet.h"
#include "tandem/models/griffin/griffin.h"
#include "tandem/models/layered_model.h"
#include "tandem/models/layers/feed_forward.h"
#include "tandem/models/layers/self_attention.h"
#include "tandem/models/lstm/lstm.h"
#include "tandem/models/min_gru/min_gru.h"
#include "tandem/models/qrnn/qrnn.h"
#include "tandem/models/sru/sru.h"
#include "tandem/models/srupp/srupp.h"

namespace tandem {
namespace {

// Standard deviation of the initial weights of attention and feed-forward, as in Transformer-XL.
constexpr double kDeviation = 0.02;

// Makes layers of each kind from the stack's configuration.
struct Maker {
  const StackConfig& config;
  int64_t layers;  // number of layers in the stack
  Random& random;
  InitialValues& values;
  std::shared_ptr<const Sinusoids> sinusoids;

  std::unique_ptr<Layer> srupp(int64_t i, bool attends) const {
    SruppConfig c;
    static_cast<TokenConfig&>(c) = config;
    c.d = config.d;
    c.d_projected = config.d_projected;
    c.layers = layers;
    c.attention_every = attends ? 1 : 0;
    c.dropout = config.dropout;
    c.attention_dropout = config.attention_dropout;
    c.highway_bias = config.highway_bias;
    return std::make_unique<SruppLayer>(c, i, random);
  }

  std::unique_ptr<Layer> sru(int64_t i) const {
    SruConfig c;
    static_cast<TokenConfig&>(c) = config;
    c.d = config.d;
    c.d_projected = config.d_projected;
    c.layers = layers;
    c.dropout = config.dropout;
    c.highway_bias = config.highway_bias;
    return std::make_unique<SruLayer>(c, i, random);
  }

  // Returns the standard deviation of the last matrix of a layer with d inputs, smaller in a deeper stack.
  double output_deviation() const { return std::sqrt(2.0 / static_cast<double>(layers * config.d)); }

  std::unique_ptr<Layer> min_gru() const {
    const MinGruLayerOptions options = {.d = config.d, .d_inner = 2 * config.d, .dropout = config.dropout};
    return std::make_unique<MinGruLayer>(options, config, random);
  }

  std::unique_ptr<Layer> rg_lru() const {
    RgLruLayerOptions options;
    options.d = options.d_recurrent = config.d;
    options.blocks = config.heads;
    options.output_deviation = output_deviation();
    options.dropout = config.dropout;
    return std::make_unique<RgLruLayer>(options, config, random);
  }

  std::unique_ptr<Layer> gated_delta() const {
    GatedDeltaLayerOptions options;
    options.d = config.d;
    options.heads = config.heads;
    options.d_key = options.d_value = config.d / config.heads;
    options.output_deviation = output_deviation();
    options.dropout = config.dropout;
    return std::make_unique<GatedDeltaLayer>(options, config, random);
  }

  std::unique_ptr<Layer> attention() const {
    SelfAttentionConfig c;
    c.d = config.d;
    c.heads = config.heads;
    c.d_head = config.d / config.heads;
    c.attention_dropout = config.attention_dropout;
    c.residual.dropout = config.dropout;
    return std::make_unique<SelfAttention>(c, sinusoids, values);
  }

  std::unique_ptr<Layer> feed_forward() const {
    FeedForwardConfig c;
    c.d = config.d;
    c.inner = config.d_inner;
    c.activation = Activation::squared_relu;
    c.residual.dropout = config.dropout;
    return std::make_unique<FeedForward>(c, values);
  }
};

struct Kind {
  const char* name;
  std::unique_ptr<Layer> (*make)(const Maker& maker, int64_t layer);
};

constexpr Kind kKinds[] = {
    {"srupp", [](const Maker& m, int64_t i) { return m.srupp(i, true); }},
    {"srupp-projected", [](const Maker& m, int64_t i) { return m.srupp(i, false); }},
    {"sru", [](const Maker& m, int64_t i) { return m.sru(i); }},
    {"qrnn",
     [](const Maker& m, int64_t) -> std::unique_ptr<Layer> {
       return std::make_unique<QrnnLayer>(m.config.d, m.config.d, QrnnLayerOptions{.window = 2}, m.config,
                                          m.random);
     }},
    {"lstm",
     [](const Maker& m, int64_t) -> std::unique_ptr<Layer> {
       return std::make_unique<LstmLayer>(m.config.d, m.config.d, m.config, m.random);
     }},
    {"min-gru", [](const Maker& m, int64_t) { return m.min_gru(); }},
    {"rg-lru", [](const Maker& m, int64_t) { return m.rg_lru(); }},
    {"gated-delta", [](const Maker& m, int64_t) { return m.gated_delta(); }},
    {"attention", [](const Maker& m, int64_t) { return m.attention(); }},
    {"feed-forward", [](const Maker& m, int64_t) { return m.feed_forward(); }},
};

const Kind* find_kind(const std::string& name) {
  for (const Kind& kind : kKinds)
    if (name == kind.name) return &kind;
  return nullptr;
}

std::string known_kinds() {
  std::string all;
  for (const Kind& kind : kKinds) all += (all.empty() ? "" : ", ") + std::string(kind.name);
  return all;
}

}  // namespace

std::vector<std::string> stack_layers(const std::string& text) {
  constexpr int64_t kMost = 1000;
  std::vector<std::string> layers;
  for (size_t begin = 0, place = 1; begin <= text.size(); ++place) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string entry = text.substr(begin, end - begin);
    const std::string name = entry.substr(0, entry.find('*'));
    TANDEM_CHECK(find_kind(name) != nullptr,
                 "stack: \"{}\", number {} of \"{}\", is not a layer; there are {}, as NAME or NAME*COUNT",
                 printable_start(name), place, printable_start(text), known_kinds());
    int64_t count = 1;
    if (name.size() < entry.size()) {
      const char* const last = entry.data() + entry.size();
      const auto [stop, error] = std::from_chars(entry.data() + name.size() + 1, last, count);
      TANDEM_CHECK(error == std::errc() && stop == last && count > 0 && count <= kMost,
                   "stack: in \"{}\", number {} of \"{}\", the count must be a number from 1 to {}",
                   printable_start(entry), place, printable_start(text), kMost);
    }
    check_layer_count("stack", static_cast<int64_t>(layers.size()) + count);
    layers.insert(layers.end(), static_cast<size_t>(count), name);
    begin = end + 1;
  }
  return layers;
}

void StackConfig::fields(Fields& field) {
  token_fields(field);
  field("layers", layers);
  field("d", d);
  field("d_projected", d_projected);
  field("heads", heads);
  field("d_inner", d_inner);
  field("dropout", dropout);
  field("attention_dropout", attention_dropout);
  field("highway_bias", highway_bias);
}

std::unique_ptr<LanguageModel> make_stack(const StackConfig& config, uint64_t seed) {
  TANDEM_CHECK(config.d > 0 && config.d_projected >= 0 && config.heads > 0 && config.d_inner > 0,
               "stack: sizes must be positive: d {}, d' {}, heads {}, d_inner {}", config.d,
               config.d_projected, config.heads, config.d_inner);
  TANDEM_CHECK(config.dropout >= 0 && config.dropout < 1 && config.attention_dropout >= 0 &&
                   config.attention_dropout < 1,
               "stack: dropout {} and attention dropout {} must be in [0, 1)", config.dropout,
               config.attention_dropout);
  const std::vector<std::string> kinds = stack_layers(config.layers);
  const auto has = [&kinds](const char* name) {
    return std::find(kinds.begin(), kinds.end(), name) != kinds.end();
  };
  TANDEM_CHECK(!(has("attention") || has("rg-lru") || has("gated-delta")) || config.d % config.heads == 0,
               "stack: heads must divide d: d is {}, heads {}", config.d, config.heads);
  TANDEM_CHECK(config.d_projected > 0 || !(has("srupp") || has("srupp-projected")),
               "stack: srupp needs a d' above 0");

  Random random(seed);
  InitialValues values(config, kDeviation, seed + 1);
  const Maker maker{config, static_cast<int64_t>(kinds.size()), random, values,
                    has("attention") ? std::make_shared<const Sinusoids>(config.d) : nullptr};
  const Initializer rows = [&random, &config](Shape shape) {
    return uniform(random, shape, std::sqrt(3.0 / static_cast<double>(shape[1])), config);
  };
  const FrameConfig frame = {.input_width = config.d,
                             .output_width = config.d,
                             .input_dropout = config.dropout,
                             .output_dropout = config.dropout};
  const auto add_layers = [&kinds, &maker](Layers& layers) {
    for (size_t i = 0; i < kinds.size(); ++i)
      layers.push_back(find_kind(kinds[i])->make(maker, static_cast<int64_t>(i)));
  };
  return std::make_unique<LayeredModel>(config, config.text(), frame, rows, add_layers);
}

}  // namespace tandem
