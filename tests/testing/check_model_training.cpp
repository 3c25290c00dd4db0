// The checks of a model's training: learning, gradients, dropout, recomputation, bf16, resume.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "tandem/autograd/tape.h"
#include "tandem/core/random.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/optimizer.h"
#include "tandem/models/training/trainer.h"
#include "tandem/ops/gemm/precision.h"
#include "tandem/testing/check_model.h"
#include "tandem/testing/max_difference.h"
#include "tests/support/devices.h"
#include "tests/testing/model_inputs.h"

namespace tandem::testing {
namespace {

// Returns whether two numbers differ by less than `share` of 1 plus the larger one.
bool near(double a, double b, double share) {
  return std::abs(a - b) < share * (1 + std::max(std::abs(a), std::abs(b)));
}

// A random text that has every symbol of the vocabulary.
std::vector<uint8_t> random_text() {
  Random random(3);
  std::vector<uint8_t> all;
  for (int i = 0; i < 400; ++i) all.push_back(static_cast<uint8_t>('a' + random.below(kSmallVocabulary)));
  return all;
}

std::vector<double> losses_of(Trainer& trainer, int64_t steps) {
  std::vector<double> all;
  for (int64_t i = 0; i < steps; ++i) all.push_back(trainer.step().loss);
  return all;
}

// Returns what a checkpoint becomes on its way through a file.
Checkpoint through_file(const Checkpoint& checkpoint) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / fmt::format("tandem-check-model-{}.safetensors", ::getpid());
  save_checkpoint(path.string(), checkpoint);
  Checkpoint loaded = load_checkpoint(path.string());
  std::filesystem::remove(path);
  return loaded;
}

}  // namespace

Report check_model_overfits(const std::string& text) {
  return Report(text + ", learning by heart").run([&text](Report& report) {
    const Tensor tokens = random_tokens(12, 8), targets = random_tokens(12, 9);
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
    report.check(value <= kLearnt, "after {} steps on one batch the loss is {} nats; {} at most", kMost,
                 value, kLearnt);
  });
}

Report check_model_recompute(const std::string& text) {
  return Report(text + ", recomputation").run([&text](Report& report) {
    const Tensor tokens = random_tokens(6, 6), targets = random_tokens(6, 7);
    nlohmann::json config = whole_config_of(text);
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
    report.check(losses[0] == losses[1], "the loss is {}, with recomputation {}", losses[0], losses[1]);
    report.check(gradients[0] == gradients[1], "gradients differ with and without recomputation");
  });
}

Report check_model_dropout(const std::string& text, std::map<std::string, bool>& matters) {
  return Report(text + ", dropout").run([&text, &matters](Report& report) {
    const Tensor tokens = random_tokens(4, 1);
    nlohmann::json config = whole_config_of(text);
    for (auto& [key, value] : config.items()) {
      const std::string field = key;
      if (!field.ends_with("dropout")) continue;
      nlohmann::json with = config;
      with[field] = 0.3;
      const auto model = make_shaken(with);
      const auto run = [&model, &tokens](const ForwardOptions& pass) {
        State state;
        return model->logits(tokens, state, pass).to_vector<double>();
      };
      report.check(run({}) == run({}), "{}: two evaluations differ", field);
      report.check(run({.training = true, .step = 1}) == run({.training = true, .step = 1}),
                   "{}: two training passes of one key differ", field);
      const bool dropped = run({.training = true}) != run({});
      report.check((run({.training = true, .step = 1}) != run({.training = true, .step = 2})) == dropped,
                   "{}: dropout does not depend on the step", field);
      report.check((run({.training = true, .seed = 1}) != run({.training = true, .seed = 2})) == dropped,
                   "{}: dropout does not depend on the seed", field);
      // The field of the token layers, which all models share, need matter in one model only.
      const std::string owner = field == "band_dropout" ? "TokenConfig" : config["model"];
      matters[owner + "'s " + field] |= dropped;
    }
  });
}

Report check_model_bf16(const std::string& text, const ModelChecks& checks) {
  return Report(text + ", bf16").run([&text, &checks](Report& report) {
    std::vector<Device> devices;
    if (cpu_has_bf16()) devices.push_back(Device::cpu());
    if (checks.on_gpu && has_cuda()) devices.push_back(Device::cuda());
    if (devices.empty()) report.note("not checked: no device has bf16");
    const Tensor tokens = random_tokens(6, 6), targets = random_tokens(6, 7);
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
      const Results rounded = run(MatmulPrecision::bf16, device);
      report.check(near(rounded.loss, exact.loss, 2e-2), "on {} the loss is {}, in f32 {}", device.str(),
                   rounded.loss, exact.loss);
      report.check(near(rounded.norm, exact.norm, 5e-2), "on {} the gradient's norm is {}, in f32 {}",
                   device.str(), rounded.norm, exact.norm);
      const double error = relative_error(rounded.logits.to(DType::f64), exact.logits.to(DType::f64));
      report.check(error < 0.1, "on {} the decoder's logits are {} from those in f32", device.str(), error);
    }
  });
}

Report check_model_compact_state(const std::string& text, int64_t& compacted) {
  return Report(text + ", compacted state").run([&text, &compacted](Report& report) {
    const Tensor tokens = random_tokens(12, 2), targets = random_tokens(12, 3);
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
              report.check(!rounded || precision == MatmulPrecision::bf16, "the state {} was rounded in f32",
                           state.parts[i].name);
              compacted += rounded;
            }
          }
          return seen;
        };
        report.check(run(true) == run(false),
                     "in {} with a memory of {} a compacted state changes the losses", name_of(precision),
                     memory);
      }
    }
  });
}

Report check_model_gradients(const std::string& text, const ModelChecks& checks) {
  return Report(text + ", gradients").run([&text, &checks](Report& report) {
    const Tensor tokens = random_tokens(7, 11), targets = random_tokens(7, 12);
    std::vector<std::vector<double>> expected;
    for (const Device device : devices_of(checks)) {
      const auto model = make_shaken(config_of(text), device);
      State state;
      for (int segment = 0; segment < 2; ++segment) {
        Tape tape;
        tape.backward(model->loss(tokens.to(device), targets.to(device), state, {.training = true}));
      }
      const auto gradients = gradients_of(*model);
      if (expected.empty()) expected = gradients;
      const std::vector<NamedTensor> parameters = model->parameters();
      if (!report.check(gradients.size() == parameters.size(), "on {}: {} gradients of {} parameters",
                        device.str(), gradients.size(), parameters.size()))
        return;
      for (size_t i = 0; i < gradients.size(); ++i) {
        const Shape shape = {static_cast<int64_t>(gradients[i].size())};
        const double error = relative_error(tensor_of(shape, gradients[i]), tensor_of(shape, expected[i]));
        report.check(error < 1e-9, "on {}: the gradient of {} is {} from that on the CPU", device.str(),
                     parameters[i].name, error);
        report.check(std::any_of(gradients[i].begin(), gradients[i].end(), [](double g) { return g != 0; }),
                     "on {}: the gradient of {} is zero", device.str(), parameters[i].name);
      }
    }
  });
}

Report check_model_resume(const std::string& text, const std::string& optimizer) {
  return Report(fmt::format("{}, resume with {}", text, optimizer)).run([&](Report& report) {
    const std::vector<uint8_t> bytes = random_text();
    const Vocabulary vocabulary = Vocabulary::of(bytes);
    nlohmann::json json = whole_config_of(text);
    json["dtype"] = "f32";
    for (auto& [key, value] : json.items())
      if (key.ends_with("dropout") || key == "zoneout") value = 0.2;
    RunConfig config;
    config.model_config = json.dump();
    config.recipe = {.batch_size = 3,
                     .unroll = 8,
                     .eval_window = 16,
                     .eval_batch_size = 1,
                     .optimizer = optimizer,
                     .lr = 3e-3,
                     .warmup = 4,
                     .steps = 40,
                     .eval_every = 10};
    const auto start = [&config, &bytes, &vocabulary] {
      return Trainer(config, Tokens(bytes, vocabulary), vocabulary, Device::cpu());
    };
    Trainer whole = start(), before = start(), after = start();
    const std::vector<double> expected = losses_of(whole, 7);
    std::vector<double> seen = losses_of(before, 3);
    after.restore(through_file(before.checkpoint()));
    for (const double loss : losses_of(after, 4)) seen.push_back(loss);
    for (size_t i = 0; i < seen.size(); ++i)
      report.check(seen[i] == expected[i], "step {}: the loss is {}, without the stop after 3 steps {}",
                   i + 1, seen[i], expected[i]);
    report.check(expected[0] != expected[1], "the first two losses are both {}", expected[0]);
  });
}

}  // namespace tandem::testing
