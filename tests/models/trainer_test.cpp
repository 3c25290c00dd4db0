// The trainer: exact resume, non-finite steps, accumulation, memory that does not grow.
#include <doctest/doctest.h>

#include <map>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tandem/core/host_memory.h"
#include "tandem/ops/gemm/precision.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/small_run.h"

using namespace tandem;
using namespace tandem::testing;

TEST_CASE("trainer: training learns, and two runs of one seed are the same bits") {
  Trainer a = make_trainer(small_run()), b = make_trainer(small_run());
  const std::vector<double> first = losses(a, 40);
  CHECK(first == losses(b, 40));
  CHECK(first.back() < first.front());
  CHECK(a.steps_done() == 40);
  RunConfig other = small_run();
  other.seed = 7;
  Trainer c = make_trainer(other);
  CHECK(losses(c, 40) != first);
}

TEST_CASE("trainer: stopping after any step and resuming from the file gives the same losses bit for bit") {
  // 14 segments an epoch, so that stops fall inside the first epoch, at its end, and in the second.
  for (const std::string precision : {"f32", "bf16"}) {
    for (const int64_t accumulate : {1, 3}) {
      RunConfig config = small_run();
      config.recipe.accumulate = accumulate;
      config.precision = precision;
      if (precision == "bf16" && !cpu_has_bf16()) continue;
      Trainer whole = make_trainer(config);
      const std::vector<double> expected = losses(whole, 20);
      const TempDir folder;
      const std::string path = folder / "resume";
      for (const int64_t stop : {0, 1, 4, 13, 14, 15, 19}) {
        CAPTURE(stop);
        Trainer before = make_trainer(config);
        std::vector<double> seen = losses(before, stop);
        save_checkpoint(path, before.checkpoint());
        Trainer after = make_trainer(RunConfig::from_text(load_checkpoint(path).run_config));
        after.restore(load_checkpoint(path));
        CHECK(after.steps_done() == stop);
        const std::vector<double> rest = losses(after, 20 - stop);
        seen.insert(seen.end(), rest.begin(), rest.end());
        CHECK(seen == expected);
      }
    }
  }
}

TEST_CASE(
    "trainer: with Muon training learns, and a resumed run goes on bit for bit, with accumulation too") {
  for (const std::string precision : {"f32", "bf16"}) {
    if (precision == "bf16" && !cpu_has_bf16()) continue;
    RunConfig config = run_by("muon");
    config.precision = precision;
    config.recipe.accumulate = 2;
    Trainer whole = make_trainer(config), radam = make_trainer([&config] {
                                            RunConfig other = config;
                                            other.recipe.optimizer = "radam";
                                            return other;
                                          }());
    const std::vector<double> expected = losses(whole, 16);
    CHECK(expected.back() < expected.front());
    CHECK(expected != losses(radam, 16));
    Trainer before = make_trainer(config);
    std::vector<double> seen = losses(before, 7);
    const TempDir folder;
    save_checkpoint(folder / "resume", before.checkpoint());
    const Checkpoint saved = load_checkpoint(folder / "resume");
    Trainer after = make_trainer(RunConfig::from_text(saved.run_config));
    after.restore(saved);
    for (const double loss : losses(after, 9)) seen.push_back(loss);
    CHECK(seen == expected);
  }
}

TEST_CASE("run configuration: a value of another type or outside of its range is refused, never changed") {
  const nlohmann::json good = nlohmann::json::parse(small_run().text());
  const auto refusal = [&good](const char* pointer, const nlohmann::json& value) {
    nlohmann::json json = good;
    json[nlohmann::json::json_pointer(pointer)] = value;
    return error_of([&json] { RunConfig::from_text(json.dump()); });
  };
  for (const nlohmann::json& value : {nlohmann::json(1.5), nlohmann::json(1e300), nlohmann::json(UINT64_MAX),
                                      nlohmann::json("5"), nlohmann::json(), nlohmann::json(true)})
    for (const char* field : {"steps", "eval_every", "unroll"})
      CHECK(contains(refusal((std::string("/recipe/") + field).c_str(), value),
                     std::string("recipe.") + field));
  CHECK(contains(refusal("/recipe/eval_every", 0), "eval_every is 0; it must be from 1"));
  CHECK(contains(refusal("/recipe/batch_size", -1), "batch_size is -1"));
  CHECK(contains(refusal("/seed", -1), "seed is -1"));
  CHECK(contains(refusal("/level", "sentence"), "sentence"));
  CHECK(contains(refusal("/valid_fraction", 1), "valid_fraction is 1"));
  CHECK(contains(refusal("/words", 7), "words is 7"));
  CHECK(contains(error_of([] { RunConfig::from_text("[1]"); }), "run configuration"));
  std::string deep(50'000, '[');
  CHECK(contains(error_of([&deep] { RunConfig::from_text(deep); }), "nested"));
}

TEST_CASE("trainer: progress with a value of another type or outside of its range is refused") {
  Trainer trainer = make_trainer(small_run());
  trainer.step();
  const Checkpoint good = trainer.checkpoint();
  for (const auto& [field, value] : std::map<std::string, nlohmann::json>{{"step", 1e300},
                                                                          {"skipped", -1},
                                                                          {"segment", 0.5},
                                                                          {"micro_step", int64_t{1} << 32},
                                                                          {"best_dev_nats", "0"},
                                                                          {"epoch", nullptr}}) {
    Checkpoint checkpoint = good;
    nlohmann::json progress = nlohmann::json::parse(good.progress);
    progress[field] = value;
    checkpoint.progress = progress.dump();
    CHECK(contains(error_of([&] { trainer.restore(checkpoint); }), field));
  }
}

TEST_CASE("run configuration: fields of later versions have defaults, and all others are required") {
  const RunConfig config = small_run();
  nlohmann::json old = nlohmann::json::parse(config.text());
  for (const char* field : {"level", "words"}) old.erase(field);
  for (const char* field : {"memory", "eval_memory", "eval_clamp", "schedule", "lr_floor", "noam_width",
                            "cycle", "cycle_growth", "cycle_shrink"})
    CHECK(old["recipe"].erase(field) == 1);
  CHECK(RunConfig::from_text(old.dump()).text() == config.text());
  for (const char* field : {"lr", "batch_size", "optimizer"}) {
    nlohmann::json broken = old;
    broken["recipe"].erase(field);
    CHECK(error_of([&broken] { RunConfig::from_text(broken.dump()); }).find(field) != std::string::npos);
  }
}

TEST_CASE("trainer: accumulating over segments is the mean of their gradients") {
  // The first update at a fixed rate: one step over two segments against the mean loss of two single ones.
  RunConfig config = small_run();
  config.recipe.accumulate = 2;
  Trainer two = make_trainer(config);
  RunConfig still = small_run();
  still.recipe.lr = 1e-30;
  still.recipe.weight_decay = 0;
  Trainer one = make_trainer(still);
  const StepRecord record = two.step();
  const double mean = (one.step().loss + one.step().loss) / 2;
  CHECK(record.loss == doctest::Approx(mean).epsilon(1e-6));
  CHECK(record.tokens == 2 * 3 * 16);
}

TEST_CASE("trainer: steps that are not finite are skipped, counted and at last explained") {
  RunConfig config = small_run();
  config.max_skipped = 3;
  Trainer trainer = make_trainer(config);
  losses(trainer, 2);
  const std::vector<NamedTensor> parameters = trainer.model().parameters();
  const Tensor weight = find_tensor(parameters, "layers.0.query.weight");
  const float kept = weight.span<float>()[0];
  const auto values = [&parameters] {
    std::vector<std::vector<float>> all;
    for (const NamedTensor& p : parameters) all.push_back(p.value.to_vector<float>());
    return all;
  };
  const auto before = values();
  weight.span<float>()[0] = INFINITY;
  StepRecord record = trainer.step();
  CHECK(record.skipped);
  CHECK(trainer.steps_skipped() == 1);
  weight.span<float>()[0] = kept;
  CHECK(values() == before);  // nothing was updated
  record = trainer.step();
  CHECK(!record.skipped);  // the carried state is still finite
  CHECK(std::isfinite(record.loss));

  weight.span<float>()[0] = INFINITY;
  trainer.step();
  trainer.step();
  const std::string error = error_of([&trainer] { trainer.step(); });
  CHECK(contains(error, "3 steps in a row"));
  CHECK(contains(error, "layers.0.query.weight"));
}

TEST_CASE("trainer: an overflow in the model names the operator where it arises") {
  RunConfig config = small_run();
  config.max_skipped = 1;
  Trainer trainer = make_trainer(config);
  for (const NamedTensor& parameter : trainer.model().parameters())
    if (parameter.name == "layers.1.query.weight" || parameter.name == "embedding.weight")
      for (float& w : parameter.value.span<float>()) w = 3e38f;
  const std::string error = error_of([&trainer] { trainer.step(); });
  CAPTURE(error);
  CHECK(contains(error, "linear"));
  CHECK(contains(error, "is not finite"));
}

TEST_CASE("trainer: no memory comes from the system after the third step") {
  if (host_allocator().statistics().source_calls == host_allocator().statistics().allocations)
    return;  // TANDEM_ALLOCATOR=direct caches nothing
  for (const std::string precision : {"f32", "bf16"}) {
    if (precision == "bf16" && !cpu_has_bf16()) continue;
    RunConfig config = small_run();
    config.precision = precision;
    Trainer trainer = make_trainer(config);
    losses(trainer, 3);
    const int64_t calls = host_allocator().statistics().source_calls;
    losses(trainer, 30);  // passes the end of an epoch
    CHECK(host_allocator().statistics().source_calls == calls);
  }
}

TEST_CASE("trainer: with bf16 products the carried memory is stored in bf16 between steps") {
  for (const std::string precision : {"f32", "bf16"}) {
    if (precision == "bf16" && !cpu_has_bf16()) continue;
    RunConfig config = small_run();
    config.precision = precision;
    Trainer trainer = make_trainer(config);
    losses(trainer, 2);
    for (const NamedTensor& part : trainer.checkpoint().state) {
      CAPTURE(part.name);
      const bool rounded = precision == "bf16" && part.name.starts_with("memory");
      CHECK(part.value.dtype() == (rounded ? DType::bf16 : DType::f32));
    }
  }
}

TEST_CASE("trainer: resuming refuses what does not belong to the run") {
  Trainer trainer = make_trainer(small_run());
  losses(trainer, 1);
  Trainer other = make_trainer(small_run());
  CHECK(contains(error_of([&] { other.restore(trainer.weights()); }), "weights only"));
  Checkpoint checkpoint = trainer.checkpoint();
  checkpoint.model_config = "{}";
  CHECK(contains(error_of([&] { other.restore(checkpoint); }), "checkpoint is of the model {}"));
  checkpoint = trainer.checkpoint();
  checkpoint.progress = "{\"step\": 1}";
  CHECK(contains(error_of([&] { other.restore(checkpoint); }), "resume: the checkpoint's progress"));
  checkpoint = trainer.checkpoint();
  checkpoint.optimizer.pop_back();
  CHECK(error_of([&] { other.restore(checkpoint); }) != "no error");
}
