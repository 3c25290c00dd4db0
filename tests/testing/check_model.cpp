// The checks of a model's state, decoder and configuration, and all checks together.
#include "tandem/testing/check_model.h"

#include <set>

#include "tandem/models/registry.h"
#include "tandem/ops/gemm/precision.h"
#include "tandem/testing/max_difference.h"
#include "tests/testing/model_inputs.h"

namespace tandem::testing {

Report check_model_config(const std::string& text) {
  return Report(text + ", configuration").run([&text](Report& report) {
    const nlohmann::json config = config_of(text);
    const std::string whole = make_model(config.dump(), 1)->config();
    const std::string again = make_model(whole, 1)->config();
    report.check(again == whole, "{} gives a model of {}", whole, again);
    const nlohmann::json seen = nlohmann::json::parse(whole);
    for (const auto& [key, value] : config.items())
      report.check(seen.contains(key) && seen[key] == value, "the field {} was {}; config() is {}", key,
                   value.dump(), whole);
  });
}

Report check_model_segments(const std::string& text) {
  return Report(text + ", segments").run([&text](Report& report) {
    const Tensor tokens = random_tokens(19, 3), targets = random_tokens(19, 4);
    ForwardOptions pass;
    pass.context.memory = 100;
    const auto model = make_shaken(config_of(text));
    if (!model->carries_state()) return;
    State whole, parts;
    const Tensor expected = model->token_losses(tokens, targets, whole, pass);
    for (int64_t begin = 0; const int64_t steps : {1, 7, 2, 9}) {
      const Tensor losses = model->token_losses(tokens.view_rows(begin, begin + steps),
                                                targets.view_rows(begin, begin + steps), parts, pass);
      const double error = relative_error(losses, expected.view_rows(begin, begin + steps));
      report.check(error < 1e-11, "the losses of the steps {} to {} are {} from those of one pass", begin,
                   begin + steps - 1, error);
      begin += steps;
    }
    if (!report.check(parts.parts.size() == whole.parts.size(),
                      "segments leave {} parts of state, one pass {}", parts.parts.size(),
                      whole.parts.size()))
      return;
    for (size_t i = 0; i < parts.parts.size(); ++i) {
      const NamedTensor &a = parts.parts[i], &b = whole.parts[i];
      report.check(a.name == b.name, "segments leave the state {}, one pass {}", a.name, b.name);
      const double error = relative_error(a.value, b.value);
      report.check(error < 1e-11, "the state {} is {} from that of one pass", a.name, error);
    }
  });
}

Report check_model_decoder(const std::string& text, const ModelChecks& checks) {
  return Report(text + ", decoder").run([&text, &checks](Report& report) {
    constexpr int64_t kMemory = 5, kSegment = 3, kRead = kMemory + kSegment;
    const Tensor tokens = random_tokens(6 * kMemory, 5);
    ForwardOptions pass;
    pass.context = {.memory = kMemory, .same_length = true, .segment = kSegment};
    for (const Device device : devices_of(checks)) {
      const auto model = make_shaken(config_of(text), device);
      // A model that carries no state starts over with its memory when it has read a segment beyond it.
      const bool carries = model->carries_state();
      const std::vector<int64_t> segments =
          carries ? std::vector<int64_t>{5, 5, 3, 4, 6, 1} : std::vector<int64_t>{kRead};
      const std::unique_ptr<Decoder> decoder = model->decoder(kBatch, pass.context);
      // Lets the decoder read token t, and compares its logits with row `row` of an evaluation.
      const auto compare = [&](int64_t t, const Tensor& evaluation, int64_t row) {
        const Tensor logits = decoder->step(tokens.view_rows(t, t + 1).view_as({kBatch}).to(device));
        const double error =
            relative_error(logits.view_as({1, kBatch, kSmallVocabulary}), evaluation.view_rows(row, row + 1));
        report.check(error < 1e-11, "on {}: the logits of token {} are {} from those of evaluation",
                     device.str(), t, error);
      };
      State state;
      for (int64_t begin = 0; const int64_t steps : segments) {
        const Tensor expected = model->logits(tokens.view_rows(begin, begin + steps).to(device), state, pass);
        for (int64_t t = begin; t < begin + steps; ++t) compare(t, expected, t - begin);
        begin += steps;
      }
      if (carries) continue;
      const Tensor expected =
          model->logits(tokens.view_rows(kSegment, kSegment + kRead).to(device), state, pass);
      for (int64_t t = kRead; t < kRead + kSegment; ++t) compare(t, expected, t - kSegment);
    }
  });
}

Report check_model_state(const std::string& text) {
  return Report(text + ", state").run([&text](Report& report) {
    const Tensor tokens = random_tokens(8, 2), targets = random_tokens(8, 3);
    const auto model = make_shaken(config_of(text));
    State state;
    model->token_losses(tokens.view_rows(0, 4), targets.view_rows(0, 4), state, {});
    report.check(state.empty() != model->carries_state(), "carries_state() is {}; the state has {} parts",
                 model->carries_state(), state.parts.size());
    State copied;
    std::set<std::string> names;
    for (const NamedTensor& part : state.parts) {
      copied.parts.push_back({part.name, part.value.clone()});
      names.insert(part.name);
    }
    report.check(names.size() == state.parts.size(), "{} parts of the state have {} names",
                 state.parts.size(), names.size());
    const auto rest = [&](State& from) {
      return model->token_losses(tokens.view_rows(4, 8), targets.view_rows(4, 8), from, {})
          .to_vector<double>();
    };
    const std::vector<double> expected = rest(state);
    report.check(rest(copied) == expected, "the losses differ with a copy of the state");
    State none;
    report.check((rest(none) != expected) == model->carries_state(),
                 "carries_state() is {}; losses with and without the state say otherwise",
                 model->carries_state());
  });
}

Report check_model_resume(const std::string& text) {
  Report report(text + ", resume");
  for (const char* optimizer : {"radam", "adamw", "lamb", "nag", "muon"})
    report.add(check_model_resume(text, optimizer));
  return report;
}

Report check_model_configs(const std::vector<std::string>& configs, const ModelChecks& checks) {
  Report report(fmt::format("model of {} configurations", configs.size()));
  std::map<std::string, bool> matters;
  for (const std::string& config : configs) {
    for (const auto check : {check_model_config, check_model_overfits, check_model_segments,
                             check_model_recompute, check_model_state})
      report.add(check(config));
    for (const auto check : {check_model_decoder, check_model_rows, check_model_bf16, check_model_gradients})
      report.add(check(config, checks));
    report.add(check_model_dropout(config, matters));
    int64_t compacted = 0;
    report.add(check_model_compact_state(config, compacted));
    report.add(check_model_resume(config));
  }
  for (const auto& [field, does] : matters)
    // The dropout of clusters matters where the configuration has some.
    report.check(does || field == "TokenConfig's band_dropout", "{} changes no training pass", field);
  return report;
}

Report check_model(const std::string& config, const ModelChecks& checks) {
  return check_model_configs({config}, checks);
}

}  // namespace tandem::testing
