// Language models: published parameter counts, memory, overfitting, generation, configuration and weights.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "autograd/tape.h"
#include "core/random.h"
#include "models/optimizer.h"
#include "models/presets.h"
#include "models/registry.h"
#include "models/sru.h"
#include "models/srupp.h"
#include "models/srupp_weights.h"
#include "tests/compare.h"
#include "tests/errors.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

int64_t parameter_count(const std::string& name) {
  nlohmann::json config = nlohmann::json::parse(preset("srupp", name).model_config);
  config["vocabulary"] = 205;
  return make_model(config.dump(), 1)->parameter_count();
}

SruppConfig small_srupp(DType dtype = DType::f64) {
  SruppConfig config;
  config.vocabulary = 11;
  config.d = 24;
  config.d_projected = 8;
  config.layers = 3;
  config.dtype = dtype;
  return config;
}

SruConfig small_sru() {
  SruConfig config;
  config.vocabulary = 11;
  config.d = 16;
  config.d_embedding = 12;
  config.d_projected = 6;
  config.layers = 2;
  config.highway_bias = -1;
  config.dtype = DType::f64;
  return config;
}

Tensor random_tokens(int64_t t, int64_t b, int64_t vocabulary, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < t * b; ++i)
    ids.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(vocabulary))));
  return tensor_of<int32_t>({t, b}, ids);
}

// alpha starts at 0, which hides attention; a trained model has others.
void open_attention(const LanguageModel& model) {
  for (const NamedTensor& parameter : model.parameters())
    if (parameter.name.ends_with(".alpha")) parameter.value.span<double>()[0] = 0.7;
}

std::vector<std::unique_ptr<LanguageModel>> all_small_models() {
  std::vector<std::unique_ptr<LanguageModel>> models;
  SruppConfig srupp = small_srupp();
  models.push_back(make_srupp(srupp, 1));
  srupp.heads = 2;
  srupp.attention_every = 2;
  models.push_back(make_srupp(srupp, 2));
  srupp.attention_every = 0;
  srupp.attention_last = 1;
  models.push_back(make_srupp(srupp, 3));
  srupp.attention_last = 0;
  models.push_back(make_srupp(srupp, 4));
  models.push_back(make_sru(small_sru(), 5));
  SruConfig plain = small_sru();
  plain.d_projected = plain.d_embedding = 0;
  models.push_back(make_sru(plain, 6));
  for (const auto& model : models) open_attention(*model);
  return models;
}

}  // namespace

TEST_CASE("parameter counts are the published ones (V = 205)") {
  CHECK(parameter_count("txl-matched") == 42345815);
  CHECK(parameter_count("base") == 107566295);
  CHECK(parameter_count("large") == 190607575);
  CHECK(parameter_count("large-ratio8") == 194993815);
}

TEST_CASE("attention every k layers takes the published formula's share") {
  // attention layer 4dd' + 2d'^2 + 2d' + 1 + 4d, projected layer 4dd' + 2d' + 4d
  const int64_t difference = 2 * 768 * 768 + 1;
  CHECK(parameter_count("base-k2") == 107566295 - 5 * difference);
  CHECK(parameter_count("base-k5") == 107566295 - 8 * difference);
  CHECK(parameter_count("base-k10") == 107566295 - 9 * difference);
  CHECK(parameter_count("base-k0") == 107566295 - 10 * difference);
}

TEST_CASE("two segments with memory equal one long pass") {
  constexpr int64_t kT = 7, kB = 2;
  const Tensor tokens = random_tokens(2 * kT, kB, 11, 3), targets = random_tokens(2 * kT, kB, 11, 4);
  for (const auto& model : all_small_models()) {
    CAPTURE(model->config());
    State whole, parts;
    const Tensor expected = model->token_losses(tokens, targets, whole, {});
    for (int64_t s = 0; s < 2; ++s) {
      const Tensor losses = model->token_losses(tokens.alias_rows(s * kT, (s + 1) * kT),
                                                targets.alias_rows(s * kT, (s + 1) * kT), parts, {});
      CHECK(relative_error(losses, expected.alias_rows(s * kT, (s + 1) * kT)) < 1e-12);
    }
  }
}

TEST_CASE("a step of generation gives the teacher-forced logits, with a full window and after it") {
  constexpr int64_t kWindow = 5, kSegments = 4, kB = 2;
  const Tensor tokens = random_tokens(kWindow * kSegments, kB, 11, 5);
  for (const auto& model : all_small_models()) {
    CAPTURE(model->config());
    State state;
    Pass pass;
    pass.context = {.memory = kWindow, .same_length = true};
    const std::unique_ptr<Decoder> decoder = model->decoder(kB, kWindow + 1);
    for (int64_t s = 0; s < kSegments; ++s) {
      const Tensor segment = tokens.alias_rows(s * kWindow, (s + 1) * kWindow);
      const Tensor expected = model->logits(segment, state, pass);
      for (int64_t t = 0; t < kWindow; ++t) {
        const Tensor logits = decoder->step(segment.alias_rows(t, t + 1).alias_shape({kB}));
        CHECK(relative_error(logits.alias_shape({1, kB, 11}), expected.alias_rows(t, t + 1)) < 1e-11);
      }
    }
  }
}

TEST_CASE("recomputation gives the same loss and gradients, with dropout too") {
  SruppConfig config = small_srupp();
  config.dropout = 0.3;
  config.attention_dropout = 0.2;
  const Tensor tokens = random_tokens(6, 3, 11, 6), targets = random_tokens(6, 3, 11, 7);
  std::vector<std::vector<double>> gradients[2];
  double losses[2];
  for (const bool recompute : {false, true}) {
    const auto model = make_srupp(config, 9);
    open_attention(*model);
    State state;
    Pass pass{.training = true, .seed = 5, .step = 3, .recompute = recompute};
    for (int segment = 0; segment < 2; ++segment) {
      Tape tape;
      const Tensor loss = model->loss(tokens, targets, state, pass);
      losses[recompute] = loss.item();
      tape.backward(loss);
    }
    for (const NamedTensor& parameter : model->parameters())
      gradients[recompute].push_back(grad(parameter.value).to_vector<double>());
  }
  CHECK(losses[0] == losses[1]);
  CHECK(gradients[0] == gradients[1]);
}

TEST_CASE("one batch can be learnt by heart") {
  std::vector<std::string> configs;
  SruppConfig srupp = small_srupp(DType::f32);
  srupp.d = 64;
  srupp.d_projected = 16;
  configs.push_back(srupp.text());
  SruConfig sru = small_sru();
  sru.d = 64;
  sru.d_projected = 32;
  sru.dtype = DType::f32;
  configs.push_back(sru.text());
  const Tensor tokens = random_tokens(12, 2, 11, 8), targets = random_tokens(12, 2, 11, 9);
  for (const std::string& config : configs) {
    CAPTURE(config);
    const auto model = make_model(config, 1);
    OptimizerConfig optimizer_config;
    optimizer_config.weight_decay = 0;
    Optimizer optimizer(model->parameters(), optimizer_config);
    double loss_value = 0;
    for (int step = 0; step < 400; ++step) {
      State state;
      Tape tape;
      const Tensor loss = model->loss(tokens, targets, state, {.training = true});
      loss_value = loss.item();
      tape.backward(loss);
      optimizer.gradient_norm();
      optimizer.step(5e-3);
    }
    CHECK(loss_value < 0.02);
  }
}

TEST_CASE("dropout changes training passes only, and by its key") {
  SruppConfig config = small_srupp();
  config.dropout = 0.3;
  const auto model = make_srupp(config, 1);
  const Tensor tokens = random_tokens(4, 2, 11, 1);
  const auto run = [&model, &tokens](const Pass& pass) {
    State state;
    return model->logits(tokens, state, pass).to_vector<double>();
  };
  CHECK(run({}) == run({}));
  CHECK(run({.training = true, .step = 1}) == run({.training = true, .step = 1}));
  CHECK(run({.training = true, .step = 1}) != run({.training = true, .step = 2}));
  CHECK(run({.training = true, .seed = 1}) != run({.training = true, .seed = 2}));
  CHECK(run({.training = true}) != run({}));
}

TEST_CASE("initialisation follows the authors: bounds, biases, alpha") {
  SruppConfig config;
  config.vocabulary = 50;
  config.d = 256;
  config.d_projected = 64;
  config.layers = 2;
  config.dropout = 0.19;
  const auto model = make_srupp(config, 7);
  const auto largest = [&model](const std::string& name) {
    for (const NamedTensor& p : model->parameters())
      if (p.name == name) {
        double most = 0;
        for (const float v : p.value.to_vector<float>())
          most = std::max(most, std::abs(static_cast<double>(v)));
        return most;
      }
    return -1.0;
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

TEST_CASE("configurations survive the way through text, and wrong ones are refused") {
  for (const auto& model : all_small_models())
    CHECK(make_model(model->config(), 1)->config() == model->config());
  CHECK(contains(error_of([] { make_model("{\"model\": \"gpt\"}", 1); }),
                 "gpt is not known; there are srupp, sru"));
  CHECK(contains(error_of([] { make_model("nonsense", 1); }), "nonsense"));
  CHECK(contains(error_of([] { make_model(R"({"model":"srupp","vocabulary":5,"widht":3})", 1); }), "widht"));
  CHECK(contains(error_of([] { make_model(R"({"model":"srupp","vocabulary":"many"})", 1); }), "vocabulary"));
  CHECK(contains(error_of([] { make_model(R"({"model":"srupp","vocabulary":5,"heads":3})", 1); }),
                 "d' is 128, heads 3"));
  CHECK(contains(error_of([] { make_model(R"({"model":"srupp","vocabulary":5,"attention_last":3})", 1); }),
                 "give one of the two"));
  CHECK(contains(error_of([] { make_model(R"({"model":"sru","vocabulary":5,"dropout":1.0})", 1); }),
                 "dropout 1"));
  CHECK(contains(error_of([] { preset("srupp", "huge"); }), "laptop, txl-matched, base"));
}

TEST_CASE("wrong states, tokens and weights are refused") {
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

TEST_CASE("authors' weights: projected layers are recognised, and what does not fit is named") {
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
