// The registry and presets, with a model that is defined and registered here, outside the library: this
// file is all that such a model takes.
#include "tandem/models/registry.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tandem/models/layered_model.h"
#include "tandem/models/layers/feed_forward.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/models/sru/sru.h"
#include "tests/support/errors.h"
#include "tests/support/small_models.h"

namespace tandem::testing {
namespace {

// "sandwich": a feed-forward layer between two SRU layers.
struct SandwichConfig : Configured<SandwichConfig> {
  int64_t d = 64;
  double dropout = 0;

  std::string model_name() const { return "sandwich"; }
  void fields(Fields& field) {
    token_fields(field);
    field("d", d);
    field("dropout", dropout);
  }
};

std::unique_ptr<LanguageModel> make_sandwich(const SandwichConfig& config, uint64_t seed) {
  Random random(seed);
  InitialValues values(config, 0, seed + 1);
  const Initializer rows = [&random, &config](Shape shape) {
    return uniform(random, shape, 1 / std::sqrt(static_cast<double>(config.d)), config);
  };
  SruConfig sru;
  static_cast<TokenConfig&>(sru) = config;
  sru.d = config.d;
  sru.layers = 2;
  FeedForwardConfig feed_forward;
  feed_forward.d = config.d;
  feed_forward.inner = 2 * config.d;
  const FrameConfig frame = {
      .input_width = config.d, .output_width = config.d, .input_dropout = config.dropout};
  return std::make_unique<LayeredModel>(config, config.text(), frame, rows, [&](Layers& layers) {
    layers.push_back(std::make_unique<SruLayer>(sru, 0, random));
    layers.push_back(std::make_unique<FeedForward>(feed_forward, values));
    layers.push_back(std::make_unique<SruLayer>(sru, 1, random));
  });
}

std::vector<Preset> sandwich_presets() {
  return {{"laptop", SandwichConfig().text(), laptop_recipe(4e-3, 1000), "a test"}};
}

}  // namespace
}  // namespace tandem::testing

TANDEM_MODELS(sandwich) {
  register_model("sandwich", testing::make_sandwich, testing::sandwich_presets);
}

namespace tandem::testing {

MODEL_CASES(sandwich) {
  add_small_model(R"({"model":"sandwich","d":16})");
}

TEST_CASE("registry: a model outside the library is known by its name, and so are its presets") {
  const std::vector<std::string> names = model_names();
  CHECK(std::is_sorted(names.begin(), names.end()));
  for (const std::string name : {"sandwich", "srupp", "transformer-xl"})
    CHECK(std::count(names.begin(), names.end(), name) == 1);
  CHECK(preset_names("sandwich") == std::vector<std::string>{"laptop"});
  CHECK(preset("sandwich", "laptop").recipe.steps == 1000);
  const auto model = make_model(R"({"model":"sandwich","vocabulary":7,"d":8})", 1);
  CHECK(make_model(model->config(), 1)->parameter_count() == model->parameter_count());
}

TEST_CASE("registry: a name is registered once") {
  CHECK(error_of([] { register_model("sandwich", make_sandwich, sandwich_presets); }) ==
        "register_model: sandwich is registered already; give this model another name");
}

TEST_CASE("registry: what is no model is refused") {
  CHECK(contains(error_of([] { register_model("", make_sandwich, sandwich_presets); }), "the name is empty"));
  CHECK(contains(error_of([] {
                   register_model(RegisteredModel{"none", nullptr, sandwich_presets});
                 }),
                 "none has no function make"));
  CHECK(contains(error_of([] { register_model("none", make_sandwich, nullptr); }),
                 "none has no function presets"));
}

TEST_CASE("registry: unknown models and fields are refused") {
  CHECK(contains(error_of([] { make_model("{\"model\": \"gpt\"}", 1); }),
                 "gpt is not known; there are evolved-transformer"));
  CHECK(contains(error_of([] { preset("gpt", "laptop"); }),
                 "the model gpt is not known; there are evolved-transformer"));
  CHECK(contains(error_of([] { make_model("nonsense", 1); }), "nonsense"));
  CHECK(contains(error_of([] { make_model(R"({"model":"srupp","vocabulary":5,"widht":3})", 1); }), "widht"));
  CHECK(contains(error_of([] { make_model(R"({"model":"srupp","vocabulary":"many"})", 1); }), "vocabulary"));
  CHECK(contains(error_of([] { make_model(R"({"model":"sru","vocabulary":5,"dropout":1.0})", 1); }),
                 "dropout 1"));
}

TEST_CASE("presets: a corpus of words has sizes of its own") {
  CHECK(preset_for_corpus("srupp", "base", "wikitext-103") == "wt103-base");
  CHECK(preset_for_corpus("srupp", "large-k5", "lm1b") == "lm1b-large-k5");
  CHECK(preset_for_corpus("transformer-xl", "large", "wikitext-103") == "wt103-large");
  CHECK(preset_for_corpus("srupp", "wt103-base", "wikitext-103") == "wt103-base");
  CHECK(preset_for_corpus("srupp", "base", "enwik8") == "base");
  CHECK(preset_for_corpus("srupp", "laptop", "wikitext-103") == "laptop");
  CHECK(preset_for_corpus("sru", "enwik8", "lm1b") == "enwik8");
  CHECK(has_preset("srupp", "base-k5"));
  CHECK_FALSE(has_preset("srupp", "huge-k5"));
  CHECK_FALSE(has_preset("transformer-xl", "base-k5"));
}

}  // namespace tandem::testing
