// Checks that every language model must pass, over the table of tests/support/small_models.h: a model's own
// test file adds its configurations there with MODEL_CASES.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/random.h"
#include "tandem/models/presets.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/optimizer.h"
#include "tandem/ops/gemm/precision.h"
#include "tests/support/devices.h"
#include "tests/support/max_difference.h"
#include "tests/support/small_models.h"

namespace tandem::testing {
namespace {

constexpr int64_t kVocabulary = kSmallVocabulary, kBatch = 2;

nlohmann::json config_of(const std::string& text) {
  nlohmann::json config = nlohmann::json::parse(text);
  config["vocabulary"] = kVocabulary;
  config["dtype"] = "f64";
  return config;
}

// Makes a model whose parameters are moved away from their initial values: many of those are near zero,
// which would hide errors.
std::unique_ptr<LanguageModel> make_shaken(const nlohmann::json& config, Device device = Device::cpu()) {
  std::unique_ptr<LanguageModel> model = make_model(config.dump(), 1, device);
  Random random(17);
  for (const NamedTensor& parameter : model->parameters()) {
    const Tensor noise(parameter.value.shape(), DType::f64);
    random.fill_uniform(noise, -0.3, 0.3);
    add_in_place(parameter.value, noise.to(parameter.value.dtype()).to(device));
  }
  return model;
}

Tensor random_tokens(int64_t steps, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < steps * kBatch; ++i) ids.push_back(static_cast<int32_t>(random.below(kVocabulary)));
  return tensor_of<int32_t>({steps, kBatch}, ids);
}

std::vector<std::vector<double>> gradients_of(const LanguageModel& model) {
  std::vector<std::vector<double>> all;
  for (const NamedTensor& parameter : model.parameters())
    all.push_back(grad(parameter.value).to(DType::f64).to_vector<double>());
  return all;
}

}  // namespace

TEST_CASE("language models: every registered model has small configurations here, and a preset laptop") {
  std::set<std::string> tested;
  for (const std::string& text : small_models()) tested.insert(config_of(text)["model"].get<std::string>());
  for (const std::string& name : model_names()) {
    CHECK_MESSAGE(tested.count(name) == 1, "no small configuration of the model ", name,
                  ": add MODEL_CASES to its test file (tests/support/small_models.h)");
    CHECK_MESSAGE(has_preset(name, "laptop"), "the model ", name, " has no preset laptop");
  }
  CHECK(tested.size() == model_names().size());
}

TEST_CASE("language models: the configuration survives the way through text") {
  for (const std::string& text : small_models()) {
    const nlohmann::json config = config_of(text);
    const std::string whole = make_model(config.dump(), 1)->config();
    CAPTURE(whole);
    CHECK(make_model(whole, 1)->config() == whole);
    const nlohmann::json seen = nlohmann::json::parse(whole);
    for (const auto& [key, value] : config.items()) CHECK(seen.at(key) == value);
  }
}

TEST_CASE("language models: one batch can be learnt by heart") {
  const Tensor tokens = random_tokens(12, 8), targets = random_tokens(12, 9);
  for (const std::string& text : small_models()) {
    CAPTURE(text);
    nlohmann::json config = config_of(text);
    config["dtype"] = "f32";
    const auto model = make_model(config.dump(), 1);
    Optimizer optimizer(model->parameters(), {.weight_decay = 0});
    double value = 1;
    // The loss starts at log 11 nats. A small model may keep confusing two of the 24 targets, a loss of
    // 0.058.
    constexpr double kLearnt = 0.1;
    constexpr int kMost = 2000;
    for (int step = 0; step < kMost && value > kLearnt; ++step) {
      State state;
      Tape tape;
      const Tensor loss = model->loss(tokens, targets, state, {.training = true});
      value = loss.item();
      tape.backward(loss);
      optimizer.step(1e-2 * (1 - static_cast<double>(step) / kMost));
    }
    CHECK(value <= kLearnt);
  }
}

TEST_CASE("language models: segments with a long memory are one long pass") {
  const Tensor tokens = random_tokens(19, 3), targets = random_tokens(19, 4);
  ForwardOptions pass;
  pass.context.memory = 100;
  for (const std::string& text : small_models()) {
    CAPTURE(text);
    const auto model = make_shaken(config_of(text));
    if (!model->carries_state()) continue;
    State whole, parts;
    const Tensor expected = model->token_losses(tokens, targets, whole, pass);
    for (int64_t begin = 0; const int64_t steps : {1, 7, 2, 9}) {
      const Tensor losses = model->token_losses(tokens.view_rows(begin, begin + steps),
                                                targets.view_rows(begin, begin + steps), parts, pass);
      CHECK(relative_error(losses, expected.view_rows(begin, begin + steps)) < 1e-11);
      begin += steps;
    }
    REQUIRE(parts.parts.size() == whole.parts.size());
    for (size_t i = 0; i < parts.parts.size(); ++i) {
      CHECK(parts.parts[i].name == whole.parts[i].name);
      CHECK(relative_error(parts.parts[i].value, whole.parts[i].value) < 1e-11);
    }
  }
}

TEST_CASE("language models: generation gives the logits of evaluation, while memory fills and after") {
  constexpr int64_t kMemory = 5, kSegment = 3, kRead = kMemory + kSegment;
  const Tensor tokens = random_tokens(6 * kMemory, 5);
  ForwardOptions pass;
  pass.context = {.memory = kMemory, .same_length = true, .segment = kSegment};
  for (const Device device : test_devices())
    for (const std::string& text : small_models()) {
      CAPTURE(text);
      CAPTURE(device.str());
      const auto model = make_shaken(config_of(text), device);
      // A model that carries no state starts over with its memory when it has read a segment beyond it.
      const bool carries = model->carries_state();
      const std::vector<int64_t> segments =
          carries ? std::vector<int64_t>{5, 5, 3, 4, 6, 1} : std::vector<int64_t>{kRead};
      const std::unique_ptr<Decoder> decoder = model->decoder(kBatch, pass.context);
      State state;
      for (int64_t begin = 0; const int64_t steps : segments) {
        const Tensor expected = model->logits(tokens.view_rows(begin, begin + steps).to(device), state, pass);
        for (int64_t t = begin; t < begin + steps; ++t) {
          const Tensor logits = decoder->step(tokens.view_rows(t, t + 1).view_as({kBatch}).to(device));
          CHECK(relative_error(logits.view_as({1, kBatch, kVocabulary}),
                               expected.view_rows(t - begin, t - begin + 1)) < 1e-11);
        }
        begin += steps;
      }
      if (carries) continue;
      const Tensor expected =
          model->logits(tokens.view_rows(kSegment, kSegment + kRead).to(device), state, pass);
      for (int64_t t = kRead; t < kRead + kSegment; ++t) {
        const Tensor logits = decoder->step(tokens.view_rows(t, t + 1).view_as({kBatch}).to(device));
        CHECK(relative_error(logits.view_as({1, kBatch, kVocabulary}),
                             expected.view_rows(t - kSegment, t - kSegment + 1)) < 1e-11);
      }
    }
}

TEST_CASE("language models: recomputation gives the same loss and gradients, with dropout too") {
  const Tensor tokens = random_tokens(6, 6), targets = random_tokens(6, 7);
  for (const std::string& text : small_models()) {
    CAPTURE(text);
    nlohmann::json config = nlohmann::json::parse(make_model(config_of(text).dump(), 1)->config());
    for (auto& [key, value] : config.items())
      if (key.ends_with("dropout")) value = 0.3;
    std::vector<std::vector<double>> gradients[2];
    double losses[2];
    for (const bool recompute : {false, true}) {
      const auto model = make_shaken(config);
      State state;
      for (uint32_t segment = 0; segment < 2; ++segment) {
        Tape tape;
        const Tensor loss = model->loss(
            tokens, targets, state,
            {.training = true, .seed = 5, .step = segment, .context = {}, .recompute = recompute});
        losses[recompute] = loss.item();
        tape.backward(loss);
      }
      gradients[recompute] = gradients_of(*model);
    }
    CHECK(losses[0] == losses[1]);
    CHECK(gradients[0] == gradients[1]);
  }
}

TEST_CASE("language models: dropout changes training passes only, and by its key") {
  const Tensor tokens = random_tokens(4, 1);
  // A field need not matter in every configuration of a model, but in one; the field of the token layers,
  // which all models share, in one model.
  std::map<std::string, bool> matters;
  for (const std::string& text : small_models()) {
    nlohmann::json config = nlohmann::json::parse(make_model(config_of(text).dump(), 1)->config());
    for (auto& [key, value] : config.items()) {
      const std::string field = key;
      if (!field.ends_with("dropout")) continue;
      CAPTURE(text);
      CAPTURE(field);
      nlohmann::json with = config;
      with[field] = 0.3;
      const auto model = make_shaken(with);
      const auto run = [&model, &tokens](const ForwardOptions& pass) {
        State state;
        return model->logits(tokens, state, pass).to_vector<double>();
      };
      CHECK(run({}) == run({}));
      CHECK(run({.training = true, .step = 1}) == run({.training = true, .step = 1}));
      const bool dropped = run({.training = true}) != run({});
      CHECK((run({.training = true, .step = 1}) != run({.training = true, .step = 2})) == dropped);
      CHECK((run({.training = true, .seed = 1}) != run({.training = true, .seed = 2})) == dropped);
      const std::string owner = field == "band_dropout" ? "TokenConfig" : config["model"];
      matters[owner + "'s " + field] |= dropped;
    }
  }
  for (const auto& entry : matters) {
    CAPTURE(entry.first);
    CHECK(entry.second);
  }
}

TEST_CASE("language models: in bf16 losses, gradients and generation are near those in f32") {
  std::vector<Device> devices;
  if (cpu_has_bf16()) devices.push_back(Device::cpu());
  if (has_cuda()) devices.push_back(Device::cuda());
  const Tensor tokens = random_tokens(6, 6), targets = random_tokens(6, 7);
  for (const std::string& text : small_models()) {
    CAPTURE(text);
    nlohmann::json config = config_of(text);
    config["dtype"] = "f32";
    struct Results {
      double loss, norm;
      Tensor logits;
    };
    const auto run = [&](MatmulPrecision precision, Device device) {
      const PrecisionScope scope(precision, device);
      Results results;
      const auto model = make_model(config.dump(), 1, device);
      State state;
      for (int segment = 0; segment < 2; ++segment) {
        Tape tape;
        const Tensor loss = model->loss(tokens.to(device), targets.to(device), state, {.training = true});
        results.loss = loss.item();
        tape.backward(loss);
      }
      double squares = 0;
      for (const auto& gradient : gradients_of(*model))
        for (const double g : gradient) squares += g * g;
      results.norm = std::sqrt(squares);
      const auto decoder = model->decoder(kBatch, {.memory = 3});
      for (int64_t t = 0; t < 6; ++t)
        results.logits = decoder->step(tokens.view_rows(t, t + 1).view_as({kBatch}).to(device));
      return results;
    };
    const Results exact = run(MatmulPrecision::f32, Device::cpu());
    for (const Device device : devices) {
      CAPTURE(device.str());
      const Results rounded = run(MatmulPrecision::bf16, device);
      CHECK(rounded.loss == doctest::Approx(exact.loss).epsilon(2e-2));
      CHECK(rounded.norm == doctest::Approx(exact.norm).epsilon(5e-2));
      CHECK(relative_error(rounded.logits.to(DType::f64), exact.logits.to(DType::f64)) < 0.1);
    }
  }
}

TEST_CASE("language models: a text goes on from a copy of its state") {
  const Tensor tokens = random_tokens(8, 2), targets = random_tokens(8, 3);
  for (const std::string& text : small_models()) {
    CAPTURE(text);
    const auto model = make_shaken(config_of(text));
    State state;
    model->token_losses(tokens.view_rows(0, 4), targets.view_rows(0, 4), state, {});
    CHECK(state.empty() != model->carries_state());
    State copied;
    std::set<std::string> names;
    for (const NamedTensor& part : state.parts) {
      copied.parts.push_back({part.name, part.value.clone()});
      names.insert(part.name);
    }
    CHECK(names.size() == state.parts.size());
    const auto rest = [&](State& from) {
      return model->token_losses(tokens.view_rows(4, 8), targets.view_rows(4, 8), from, {})
          .to_vector<double>();
    };
    const std::vector<double> expected = rest(state);
    CHECK(rest(copied) == expected);
    State none;
    CHECK((rest(none) != expected) == model->carries_state());
  }
}

TEST_CASE("language models: a compacted state gives the next segment the same bits") {
  const Tensor tokens = random_tokens(12, 2), targets = random_tokens(12, 3);
  int compacted = 0;
  for (const std::string& text : small_models()) {
    CAPTURE(text);
    nlohmann::json config = config_of(text);
    config["dtype"] = "f32";
    const auto model = make_shaken(config);
    for (const MatmulPrecision precision : {MatmulPrecision::f32, MatmulPrecision::bf16}) {
      if (precision == MatmulPrecision::bf16 && !cpu_has_bf16()) continue;
      const PrecisionScope scope(precision);
      for (const int64_t memory : {-1, 2, 7}) {  // as many rows as a segment, fewer, and more
        const auto run = [&](bool compact) {
          State state;
          std::vector<std::vector<double>> seen;
          for (int64_t t = 0; t < 12; t += 4) {
            for (const NamedTensor& parameter : model->parameters()) zero_grad(parameter.value);
            Tape tape;
            const Tensor loss = model->loss(tokens.view_rows(t, t + 4), targets.view_rows(t, t + 4), state,
                                            {.training = true, .context = {.memory = memory}});
            tape.backward(loss);
            seen.push_back({loss.item()});
            for (auto& gradient : gradients_of(*model)) seen.push_back(std::move(gradient));
            if (!compact) continue;
            const State before = state;
            compact_state(state);
            for (size_t i = 0; i < state.parts.size(); ++i) {
              const bool rounded = state.parts[i].value.dtype() != before.parts[i].value.dtype();
              CHECK((!rounded || precision == MatmulPrecision::bf16));
              compacted += rounded;
            }
          }
          return seen;
        };
        CHECK(run(true) == run(false));
      }
    }
  }
  CHECK((compacted > 0) == cpu_has_bf16());
}

TEST_CASE("language models: every parameter has a gradient, the same on every device") {
  const Tensor tokens = random_tokens(7, 11), targets = random_tokens(7, 12);
  for (const std::string& text : small_models()) {
    CAPTURE(text);
    std::vector<std::vector<double>> expected;
    for (const Device device : test_devices()) {
      CAPTURE(device.str());
      const auto model = make_shaken(config_of(text), device);
      State state;
      for (int segment = 0; segment < 2; ++segment) {
        Tape tape;
        tape.backward(model->loss(tokens.to(device), targets.to(device), state, {.training = true}));
      }
      const auto gradients = gradients_of(*model);
      if (expected.empty()) expected = gradients;
      const std::vector<NamedTensor> parameters = model->parameters();
      REQUIRE(gradients.size() == parameters.size());
      for (size_t i = 0; i < gradients.size(); ++i) {
        CAPTURE(parameters[i].name);
        const Shape shape = {static_cast<int64_t>(gradients[i].size())};
        CHECK(relative_error(tensor_of(shape, gradients[i]), tensor_of(shape, expected[i])) < 1e-9);
        CHECK(std::any_of(gradients[i].begin(), gradients[i].end(), [](double g) { return g != 0; }));
      }
    }
  }
}

}  // namespace tandem::testing
