// SRU++: published parameter counts, initial values, configuration and weights. The comparison with the
// authors' code is in srupp_golden_test.cpp, what all models share in language_models_test.cpp.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tandem/core/random.h"
#include "tandem/models/presets.h"
#include "tandem/models/registry.h"
#include "tandem/models/srupp/authors_weights.h"
#include "tandem/models/srupp/srupp.h"
#include "tandem/testing/max_difference.h"
#include "tests/support/errors.h"
#include "tests/support/parameter_count.h"
#include "tests/support/small_models.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

SruppConfig small_srupp(DType dtype = DType::f64) {
  SruppConfig config;
  config.vocabulary = 11;
  config.d = 24;
  config.d_projected = 8;
  config.layers = 3;
  config.dtype = dtype;
  return config;
}

Tensor random_tokens(int64_t t, int64_t b, int64_t vocabulary, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < t * b; ++i)
    ids.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(vocabulary))));
  return tensor_of<int32_t>({t, b}, ids);
}

}  // namespace

MODEL_CASES(srupp) {
  add_small_model(R"({"model":"srupp","d":24,"d_projected":8,"layers":3})");
  add_small_model(R"({"model":"srupp","d":24,"d_projected":8,"layers":3,"heads":2,
                      "attention_every":2})");
  add_small_model(R"({"model":"srupp","d":24,"d_projected":8,"layers":3,"attention_every":0,
                      "attention_last":1})");
  add_small_model(R"({"model":"srupp","d":24,"d_projected":8,"layers":2,"attention_every":0})");
  add_small_model(R"({"model":"srupp","d":24,"d_projected":8,"layers":2,"conv_width":3})");
  add_small_model(R"({"model":"srupp","d":24,"d_projected":8,"layers":3,"attention_every":0,
                      "attention_last":1,"conv_width":3,"short_conv_width":4})");
  // Adaptive input and output.
  add_small_model(R"({"model":"srupp","d":24,"d_projected":8,"layers":2,"cutoffs":[3,7],
                      "band_width":12,"band_divisor":2,"tied":true,"tied_projections":"all"})");
  add_small_model(R"({"model":"srupp","d":24,"d_projected":8,"layers":2,"cutoffs":[4],
                      "band_width":16,"band_divisor":4})");
}

TEST_CASE("srupp: parameter counts are the published ones (V = 205)") {
  CHECK(parameter_count("srupp", "txl-matched", 205) == 42345815);
  CHECK(parameter_count("srupp", "base", 205) == 107566295);
  CHECK(parameter_count("srupp", "large", 205) == 190607575);
  CHECK(parameter_count("srupp", "large-ratio8", 205) == 194993815);
}

TEST_CASE("srupp: attention every k layers saves as many parameters as the formula says") {
  // attention layer 4dd' + 2d'^2 + 2d' + 1 + 4d, projected layer 4dd' + 2d' + 4d
  const int64_t difference = 2 * 768 * 768 + 1;
  CHECK(parameter_count("srupp", "base-k2", 205) == 107566295 - 5 * difference);
  CHECK(parameter_count("srupp", "base-k5", 205) == 107566295 - 8 * difference);
  CHECK(parameter_count("srupp", "base-k10", 205) == 107566295 - 9 * difference);
  CHECK(parameter_count("srupp", "base-k0", 205) == 107566295 - 10 * difference);
}

TEST_CASE("srupp: initial values are the authors': bounds, biases, alpha") {
  SruppConfig config;
  config.vocabulary = 50;
  config.d = 256;
  config.d_projected = 64;
  config.layers = 2;
  config.dropout = 0.19;
  const auto model = make_srupp(config, 7);
  const auto largest = [&model](const std::string& name) {
    double most = 0;
    for (const float v : find_tensor(model->parameters(), name).to_vector<float>())
      most = std::max(most, std::abs(static_cast<double>(v)));
    return most;
  };
  const auto close = [](double value, double bound) { return value <= bound && value > 0.99 * bound; };
  CHECK(close(largest("embedding.weight"), std::sqrt(3.0 / 256)));
  CHECK(close(largest("output.weight"), std::sqrt(3.0 / 256)));
  CHECK(close(largest("layers.0.query.weight"), std::sqrt(6.0 / (256 + 64))));
  CHECK(close(largest("layers.0.key_value.weight"), std::sqrt(6.0 / (3 * 64))));
  CHECK(close(largest("layers.0.output.weight"), std::sqrt(6.0 / (64 + 3 * 256)) * std::sqrt(1 - 0.19)));
  CHECK(close(largest("layers.0.scan.weight"), 1));
  CHECK(largest("layers.0.alpha") == 0);
  CHECK(largest("layers.0.norm.gain") == 1);
  CHECK(largest("layers.0.scan.bias") == 2);
}

TEST_CASE("srupp: the options of initial values do what they say, and change nothing else") {
  const auto with = [](const std::string& fields) {
    return make_model(R"({"model":"srupp","vocabulary":50,"d":64,"d_projected":16,"layers":2)" + fields + "}",
                      7)
        ->parameters();
  };
  const auto before = with(""), after = with(R"(,"alpha":0.5,"initial_rows":"vocabulary")");
  const double ratio = std::sqrt(64.0 / 50);
  for (size_t i = 0; i < before.size(); ++i) {
    const std::string& name = before[i].name;
    CAPTURE(name);
    const auto old_values = before[i].value.to_vector<float>(), values = after[i].value.to_vector<float>();
    const bool rows = name == "embedding.weight" || name == "output.weight";
    for (size_t k = 0; k < values.size(); ++k) {
      if (name.ends_with("alpha"))
        CHECK(values[k] == 0.5f);
      else
        CHECK(values[k] == doctest::Approx(rows ? ratio * old_values[k] : old_values[k]).epsilon(1e-6));
    }
  }
  CHECK(contains(error_of([&] { with(R"(,"initial_rows":"depth")"); }), "use width or vocabulary"));
  CHECK(contains(preset("srupp", "txl-matched").model_config, R"("initial_rows":"vocabulary")"));
  CHECK(contains(preset("srupp", "base").model_config, R"("initial_rows":"width")"));
}

TEST_CASE("srupp: the preset laptop begins with attention, and laptop-published is the paper's model") {
  const Preset ours = preset("srupp", "laptop"), published = preset("srupp", "laptop-published");
  for (const char* field : {R"("alpha":1.0)", R"("conv_width":3)", R"("highway_bias":0.0)"})
    CHECK(contains(ours.model_config, field));
  for (const char* field :
       {R"("alpha":0.0)", R"("conv_width":0)", R"("short_conv_width":0)", R"("highway_bias":-2.0)"})
    CHECK(contains(published.model_config, field));
  for (const char* papers : {"laptop-published", "txl-matched", "base", "large"})
    CHECK(preset("srupp", papers).recipe.reset_every == 0);
  const SruppConfig last = SruppConfig::from_text(ours.model_config);
  for (int64_t layer = 0; layer < last.layers; ++layer)
    CHECK(last.attends(layer) == (layer + 1 == last.layers));
  const SruppConfig all = SruppConfig::from_text(preset("srupp", "laptop-k1").model_config);
  for (int64_t layer = 0; layer < all.layers; ++layer) CHECK(all.attends(layer));
  CHECK(ours.recipe.optimizer == "muon");
  CHECK(ours.recipe.decay == "matrices");
  CHECK(published.recipe.optimizer == "radam");
  CHECK(published.recipe.decay == "all");
  CHECK(preset("srupp", "base").recipe.decay == "all");
}

TEST_CASE("srupp: wrong configurations are refused") {
  CHECK(contains(error_of([] { make_model(R"({"model":"srupp","vocabulary":5,"heads":3})", 1); }),
                 "d' is 128, heads 3"));
  CHECK(contains(error_of([] { make_model(R"({"model":"srupp","vocabulary":5,"attention_last":3})", 1); }),
                 "give one of the two"));
  CHECK(contains(error_of([] { preset("srupp", "laptop-k7"); }),
                 "laptop-k7 asks for attention every 7 layers; laptop has 6 layers"));
  CHECK(contains(error_of([] { preset("srupp", "huge"); }), "laptop, laptop-published, txl-matched, base"));
  CHECK(contains(error_of([] { preset("srupp", "huge-k5"); }), "also as NAME-k2, -k5, -k10"));
}

TEST_CASE("srupp: wrong states, tokens and weights are refused") {
  const auto model = make_srupp(small_srupp(), 1);
  State state;
  model->logits(random_tokens(3, 2, 11, 1), state, {});
  CHECK(contains(error_of([&model, &state] { model->logits(random_tokens(3, 4, 11, 1), state, {}); }),
                 "batch has 4 rows"));
  State empty;
  CHECK(contains(error_of([&model, &empty] {
                   model->logits(full({3, 1}, 11, DType::i32), empty, {});
                 }),
                 "11"));
  std::vector<NamedTensor> weights = model->parameters();
  const std::string lost = weights.back().name;
  weights.pop_back();
  CHECK(contains(error_of([&model, &weights] { model->load(weights); }), "no value for parameter " + lost));
  weights = model->parameters();
  weights[0].value = zeros({3}, DType::f64);
  CHECK(contains(error_of([&model, &weights] { model->load(weights); }), "embedding.weight"));
  weights = model->parameters();
  weights.push_back({"extra", zeros({1}, DType::f64)});
  CHECK(contains(error_of([&model, &weights] { model->load(weights); }), "extra"));
}

TEST_CASE("srupp: the authors' weights show which layers attend, and tensors that do not fit are named") {
  SruppConfig config = small_srupp(DType::f32);
  for (const auto& [every, last] : {std::pair<int64_t, int64_t>{1, 0}, {2, 0}, {3, 0}, {0, 2}, {0, 0}}) {
    config.attention_every = every;
    config.attention_last = last;
    const auto model = make_srupp(config, 3);
    const std::vector<NamedTensor> theirs = to_authors_layout(model->parameters(), config);
    const auto loaded = load_authors_srupp(theirs);
    const Tensor tokens = random_tokens(5, 2, 11, 1);
    State a, b;
    CHECK(relative_error(loaded->logits(tokens, a, {}), model->logits(tokens, b, {})) == 0);
  }
  std::vector<NamedTensor> theirs = to_authors_layout(make_srupp(config, 3)->parameters(), config);
  theirs.push_back({"rnn.rnn_lst.0.other", zeros({1}, DType::f32)});
  CHECK(contains(error_of([&theirs] { load_authors_srupp(theirs); }), "rnn.rnn_lst.0.other"));
  theirs.pop_back();
  theirs.back().value = zeros({5}, DType::f32);
  CHECK(contains(error_of([&theirs] { load_authors_srupp(theirs); }), theirs.back().name));
  theirs.pop_back();
  CHECK(contains(error_of([&theirs] { load_authors_srupp(theirs); }), "there is no tensor"));
}

TEST_CASE("srupp: a short convolution has at least two steps, or is left out") {
  SruppConfig config = small_srupp(DType::f32);
  for (const int64_t width : {-1, 1}) {
    config.short_conv_width = width;
    CHECK(error_of([&config] { make_srupp(config, 3); }) ==
          "srupp: short_conv_width " + std::to_string(width) +
              "; a filter needs at least 2 steps, and 0 leaves it out");
  }
}

TEST_CASE(
    "srupp: filters, which the authors' code does not have, are refused where their weights are written") {
  const auto refusal = [](int64_t every, int64_t conv, int64_t short_conv) {
    SruppConfig config = small_srupp(DType::f32);
    config.attention_every = every;
    config.conv_width = conv;
    config.short_conv_width = short_conv;
    const auto model = make_srupp(config, 3);
    return error_of([&] { to_authors_layout(model->parameters(), config); });
  };
  CHECK(contains(refusal(1, 3, 0), "conv_width is 3"));
  CHECK(contains(refusal(0, 0, 4), "short_conv_width 4"));
  CHECK(refusal(0, 3, 0) == "no error");  // no layer attends
  CHECK(refusal(1, 0, 4) == "no error");  // all do
}

TEST_CASE("srupp: the authors' weights are compared with each other before memory is taken for a model") {
  const SruppConfig config = small_srupp(DType::f32);
  const auto refused = [&config](const std::string& name, const Shape& shape) {
    std::vector<NamedTensor> theirs = to_authors_layout(make_srupp(config, 3)->parameters(), config);
    for (NamedTensor& tensor : theirs)
      if (tensor.name == name) tensor.value = zeros(shape, DType::f32);
    return error_of([&theirs] { load_authors_srupp(theirs); });
  };
  // Matrices without elements take no bytes, whatever sizes they state.
  CHECK(contains(refused("embedding_layer.weight", {0, int64_t{1} << 61}), "has no elements"));
  CHECK(contains(refused("embedding_layer.weight", {int64_t{1} << 61, 0}), "has no elements"));
  const std::string query = "rnn.rnn_lst.0.transform_module.linear1.weight";
  CHECK(contains(refused(query, {int64_t{1} << 61, 0}), "has no elements"));
  // A model with d' of a million would take 8 TB.
  CHECK(contains(refused(query, {1'000'000, config.d}), "linear2.weight is"));
}
