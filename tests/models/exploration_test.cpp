// Exploration, and what all models offer to a tap: listening changes no bit, values have their shapes and are finite, and
// an exploration's losses are those of an evaluation.
#include "tandem/models/training/exploration.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/random.h"
#include "tandem/models/registry.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/heard.h"
#include "tests/support/small_models.h"
#include "tests/testing/model_inputs.h"

namespace tandem::testing {
namespace {

std::vector<int32_t> random_ids(int64_t count) {
  Random random(5);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(random.below(kSmallVocabulary)));
  return ids;
}

std::unique_ptr<LanguageModel> small_model(const std::string& text, Device device = Device::cpu()) {
  nlohmann::json config = config_of(text);
  config["dtype"] = "f32";
  return make_shaken(config, device);
}

bool ends_with_any(const std::string& name, const std::set<std::string>& ends) {
  return std::any_of(ends.begin(), ends.end(),
                     [&name](const std::string& end) { return name.ends_with(end); });
}

TEST_CASE("offered by models: listening changes neither a loss nor a gradient nor a state") {
  for (const Device device : test_devices())
    for (const std::string& text : small_models()) {
      CAPTURE(text);
      const auto model = small_model(text, device);
      const auto run = [&model, device](const Tap::Listener& listener) {
        std::unique_ptr<Tap> tap;
        if (listener) tap = std::make_unique<Tap>(listener);
        State state;
        std::vector<std::vector<double>> all;
        for (const NamedTensor& one : model->parameters()) zero_grad(one.value);
        for (uint32_t segment = 0; segment < 2; ++segment) {
          Tape tape;
          const ForwardOptions options{.training = true, .seed = 3, .step = segment};
          const Tensor loss = model->loss(random_tokens(6, segment).to(device),
                                          random_tokens(6, segment + 9).to(device), state, options);
          all.push_back({loss.item()});
          tape.backward(loss);
        }
        for (const auto& gradient : gradients_of(*model)) all.push_back(gradient);
        for (const NamedTensor& part : state.parts)
          all.push_back(part.value.to(DType::f64).to_vector<double>());
        return all;
      };
      const auto silent = run(nullptr);
      std::vector<Tensor> kept;  // a listener may keep what it gets
      CHECK(run([&kept](const std::string&, const Tensor& value) { kept.push_back(value); }) == silent);
      CHECK_FALSE(kept.empty());
    }
}

TEST_CASE(
    "offered by models: the values of every layer have the shapes that tap.h promises, and are finite") {
  const std::set<std::string> shares = {".forget", ".reset", ".output", ".decay", ".beta", ".weights"};
  std::set<std::string> names;
  for (const std::string& text : small_models()) {
    CAPTURE(text);
    const auto model = small_model(text);
    State state;
    for (const int64_t steps : {5, 4}) {  // the second segment has memory
      const Heard heard = heard_from([&] { model->logits(random_tokens(steps, 1), state, {}); });
      for (const auto& one : heard) {
        const std::string& name = one.first;
        const Tensor& value = one.second;
        CAPTURE(name);
        CHECK(name.starts_with("layers."));
        names.insert(name.substr(name.find('.', 7) + 1));
        CHECK(all_finite(value));
        if (value.numel() == 1 && value.rank() == 1) continue;
        if (value.rank() == 4) {
          CHECK((value.size(0) == kBatch && value.size(2) == steps && value.size(3) >= steps));
        } else {
          CHECK((value.rank() == 3 && value.size(0) == steps && value.size(1) == kBatch));
        }
        if (ends_with_any(name, shares) && !name.ends_with("linear_scan.input"))
          for (const double share : value.to_vector<double>()) CHECK((share >= 0 && share <= 1));
      }
    }
  }
  for (const char* name :
       {"alpha", "causal_attention.weights", "relative_attention.weights", "sru_scan.forget",
        "sru_scan.reset", "sru_scan.cell", "lstm.forget", "lstm.cell", "qrnn_scan.forget", "qrnn_scan.cell",
        "linear_scan.decay", "linear_scan.state", "gated_delta_rule.decay", "gated_delta_rule.state_norm"}) {
    CAPTURE(name);
    CHECK(names.count(name) == 1);
  }
}

TEST_CASE("offered by models: a decoder offers what it attends to, without a change of its logits") {
  for (const std::string& text : small_models()) {
    CAPTURE(text);
    const auto model = small_model(text);
    const auto generate = [&model] {
      const auto decoder = model->decoder(1, {.memory = 4});
      std::vector<float> all;
      for (int32_t token = 0; token < 6; ++token)
        for (const float logit : decoder->step(tensor_of({1}, {token})).to_vector<float>())
          all.push_back(logit);
      return all;
    };
    std::vector<float> heard_logits;
    const Heard heard = heard_from([&] { heard_logits = generate(); });
    CHECK(heard_logits == generate());
    for (const auto& [name, value] : heard)
      if (name.ends_with("attend_cached.weights")) CHECK((value.rank() == 4 && value.size(2) == 1));
  }
}

// Checks that weights are of the tokens up to the query's own, at most `most` of them, and sum to 1.
void check_attention(const ExploredAttention& attention, int64_t steps) {
  REQUIRE(static_cast<int64_t>(attention.rows.size()) == steps);
  for (int64_t s = 0; s < steps; ++s) {
    const ExploredAttention::Row& row = attention.rows[static_cast<size_t>(s)];
    const int64_t keys = s - row.first + 1;
    CHECK((row.first >= 0 && keys >= 1));
    REQUIRE(static_cast<int64_t>(row.weights.size()) == attention.heads * keys);
    for (int64_t head = 0; head < attention.heads; ++head) {
      double sum = 0;
      for (int64_t k = 0; k < keys; ++k) sum += row.weights[static_cast<size_t>(head * keys + k)];
      CHECK(sum == doctest::Approx(1).epsilon(1e-5));
    }
  }
}

TEST_CASE("exploration: losses are an evaluation's for every model, and every value has all steps") {
  const std::vector<int32_t> ids = random_ids(24);
  const Tokens tokens(ids, kSmallVocabulary);
  const auto steps = static_cast<int64_t>(ids.size()) - 1;
  for (const Device device : test_devices())
    for (const std::string& text : small_models()) {
      CAPTURE(text);
      const auto model = small_model(text, device);
      const EvaluationOptions options{.window = 5, .memory = 4};
      const Exploration all = explore(*model, tokens, options);
      const Evaluation evaluation = evaluate(*model, tokens, options);
      CHECK(all.tokens == ids);
      REQUIRE(static_cast<int64_t>(all.predictions.size()) == evaluation.symbols);
      CHECK(all.total_nats() == doctest::Approx(evaluation.total_nats).epsilon(1e-6));
      CHECK(all.segments == std::vector<int64_t>{0, 5, 10, 15, 20});
      CHECK(all.attention.size() + all.series.size() > 0);
      for (const ExploredAttention& attention : all.attention) {
        CAPTURE(attention.name.name);
        CHECK(attention.name.layer.starts_with("layers."));
        check_attention(attention, steps);
        CHECK(attention.rows.back().first < 20);  // it sees memory
      }
      for (const ExploredSeries& series : all.series) {
        CHECK(static_cast<int64_t>(series.values.size()) == steps * series.units);
        for (const float value : series.values) CHECK(std::isfinite(value));
      }
      for (const Prediction& one : all.predictions) {
        REQUIRE(one.likeliest.size() == 10);
        double sum = 0;
        for (size_t i = 0; i < one.likeliest.size(); ++i) {
          sum += one.likeliest[i].second;
          CHECK((i == 0 || one.likeliest[i].second <= one.likeliest[i - 1].second));
        }
        CHECK((sum > 0.5 && sum <= 1 + 1e-9));
        CHECK((one.rank >= 1 && one.rank <= kSmallVocabulary));
      }
      for (int64_t s = 0; s < steps; ++s) {  // rank and probability fit the list of the likeliest
        const Prediction& one = all.predictions[static_cast<size_t>(s)];
        if (one.rank > 10) continue;
        const auto& [id, p] = one.likeliest[static_cast<size_t>(one.rank - 1)];
        CHECK(id == ids[static_cast<size_t>(s + 1)]);
        CHECK(p == doctest::Approx(std::exp(-one.nats)));
      }
    }
}

TEST_CASE("exploration: memory of another segment is where the weights say, whatever the window") {
  const std::vector<int32_t> ids = random_ids(24);
  const Tokens tokens(ids, kSmallVocabulary);
  const auto model = small_model(R"({"model":"srupp","d":16,"d_projected":8,"layers":2,"alpha":1})");
  // With a memory longer than the text every query sees all that came before, however the text is cut.
  const Exploration whole = explore(*model, tokens, {.window = 23, .memory = 30}),
                    cut = explore(*model, tokens, {.window = 4, .memory = 30});
  REQUIRE(whole.attention.size() == 2);
  for (size_t layer = 0; layer < 2; ++layer)
    for (size_t s = 0; s < whole.predictions.size(); ++s) {
      const auto &a = whole.attention[layer].rows[s], &b = cut.attention[layer].rows[s];
      CHECK((a.first == 0 && b.first == 0));
      REQUIRE(a.weights.size() == b.weights.size());
      for (size_t k = 0; k < a.weights.size(); ++k)
        CHECK(a.weights[k] == doctest::Approx(b.weights[k]).epsilon(1e-3));
    }
  CHECK(cut.numbers.size() == 2);
  for (const ExploredNumber& one : cut.numbers) CHECK(one.name.name == "alpha");
}

TEST_CASE("exploration: refuses what it cannot read") {
  const auto model = small_model(R"({"model":"sru","d":8,"layers":1})");
  const std::vector<int32_t> ids = random_ids(8);
  const Tokens tokens(ids, kSmallVocabulary);
  CHECK(
      contains(error_of([&] { explore(*model, tokens.first(1), {.window = 4}); }), "1 tokens leave nothing"));
  CHECK(contains(error_of([&] { explore(*model, Tokens(), {.window = 4}); }), "0 tokens leave nothing"));
  CHECK(contains(error_of([&] { explore(*model, Tokens(ids, 12), {.window = 4}); }), "12 symbols"));
  CHECK(contains(error_of([&] { explore(*model, tokens, {.window = 0}); }), "window"));
  CHECK(contains(error_of([&] { explore(*model, tokens, {.window = 4, .batch_size = 2}); }), "one column"));
  fill(model->parameters()[0].value, NAN);
  CHECK(contains(error_of([&] { explore(*model, tokens, {.window = 4}); }), "diverged"));
}

}  // namespace
}  // namespace tandem::testing
