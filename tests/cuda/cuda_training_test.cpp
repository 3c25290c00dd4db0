// Whole models on a GPU, real or simulated: the authors' golden numbers, training in every precision, graphs
// against single operators, exact resume, memory that does not grow.
#include <doctest/doctest.h>

#include <cmath>

#include "tandem/core/array.h"
#include "tandem/core/backend.h"
#include "tandem/core/dispatch.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/evaluation.h"
#include "tandem/models/training/sampling.h"
#include "tandem/models/training/score.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/small_run.h"

namespace tandem::testing {
namespace {

constexpr Device kCuda = Device::cuda();

RunConfig run_in(const std::string& precision) {
  RunConfig config = small_run();
  config.precision = precision;
  return config;
}

bool has_graphs() {
  return allocator_mode_from_environment() != AllocatorMode::direct;
}

// Checks that the losses of a run follow the CPU's, that a graph has the bits of single operators, and that a run resumes.
// make(device, precision) returns a trainer of the run.
template <class Make>
void check_run(const Make& make, double tolerance_f32) {
  Trainer reference = make(Device::cpu(), "f32");
  const std::vector<double> expected = losses(reference, 16);
  for (const auto& kind : {std::pair{"f32", tolerance_f32}, {"bf16", 5e-2}}) {
    const std::string precision = kind.first;
    const double tolerance = kind.second;
    CAPTURE(precision);
    Trainer eager = make(kCuda, precision), graph = make(kCuda, precision);
    eager.use_graph(false);
    const std::vector<double> seen = losses(graph, 16);
    CHECK(seen == losses(eager, 16));
    CHECK_MESSAGE((graph.graph_refusal() == "") == has_graphs(), graph.graph_refusal());
    CHECK(graph.uses_graph() == has_graphs());
    for (size_t i = 0; i < seen.size(); ++i)
      CHECK(seen[i] == doctest::Approx(expected[i]).epsilon(tolerance));

    Trainer before = make(kCuda, precision), after = make(kCuda, precision);
    losses(before, 6);
    after.restore(before.checkpoint());
    CHECK(losses(after, 10) == std::vector<double>(seen.begin() + 6, seen.end()));
  }
}

}  // namespace

TEST_CASE("cuda: training follows the CPU's losses in f32, and near them in tf32 and bf16") {
  if (!has_cuda()) return;
  Trainer reference = make_trainer(run_in("f32"));
  const std::vector<double> expected = losses(reference, 20);
  for (const auto& kind : {std::pair{"f32", 1e-4}, {"tf32", 2e-2}, {"bf16", 5e-2}}) {
    const std::string precision = kind.first;
    const double tolerance = kind.second;
    CAPTURE(precision);
    Trainer trainer = make_trainer(run_in(precision), kCuda);
    const std::vector<double> seen = losses(trainer, 20);
    for (size_t i = 0; i < seen.size(); ++i)
      CHECK(seen[i] == doctest::Approx(expected[i]).epsilon(tolerance));
    CHECK(seen.back() < seen.front());
  }
}

TEST_CASE("cuda: a step as one graph is the step operator by operator, bit for bit") {
  if (!has_cuda() || !has_graphs()) return;
  for (const std::string precision : {"f32", "bf16"}) {
    for (const bool recompute : {false, true}) {
      for (const int64_t accumulate : {1, 2}) {
        CAPTURE(precision);
        RunConfig config = run_in(precision);
        config.recompute = recompute;
        config.recipe.accumulate = accumulate;
        Trainer eager = make_trainer(config, kCuda), graph = make_trainer(config, kCuda);
        eager.use_graph(false);
        CHECK(losses(graph, 20) == losses(eager, 20));  // across the end of an epoch, which has 14 segments
        CHECK(graph.uses_graph());
        CHECK(graph.graph_refusal() == "");
        CHECK_FALSE(eager.uses_graph());
      }
    }
  }
}

TEST_CASE(
    "cuda: a step is captured once its memory is full, however long that is, and again in the next epoch") {
  if (!has_cuda() || !has_graphs()) return;
  for (const int64_t segments : {1, 2, 3, 5}) {
    CAPTURE(segments);
    RunConfig config = run_in("f32");
    config.recipe.memory = segments * config.recipe.unroll;
    Trainer eager = make_trainer(config, kCuda), graph = make_trainer(config, kCuda);
    eager.use_graph(false);
    // An epoch has 14 segments. The memory is full after as many of them as it has, and two more steps are eager.
    CHECK(losses(graph, 12) == losses(eager, 12));
    CHECK(graph.uses_graph());
    CHECK(graph.graph_refusal() == "");
    CHECK(losses(graph, 12) == losses(eager, 12));
    CHECK(graph.uses_graph());
    CHECK(graph.graph_refusal() == "");
  }
}

TEST_CASE(
    "cuda: with Muon losses follow the CPU's, a graph has the bits of single operators, and a run resumes") {
  if (!has_cuda()) return;
  check_run(
      [](Device device, const std::string& precision) {
        RunConfig config = run_by("muon");
        config.precision = precision;
        return make_trainer(config, device);
      },
      1e-3);
}

TEST_CASE(
    "cuda: with columns that begin anew losses follow the CPU's, a graph has the bits of single operators, and a run "
    "resumes") {
  if (!has_cuda()) return;
  check_run(
      [](Device device, const std::string& precision) {
        RunConfig config = run_in(precision);
        config.recipe.reset_every = 3;  // one of the three columns before each step
        return make_trainer(config, device);
      },
      1e-4);
}

TEST_CASE(
    "cuda: distilled steps follow the CPU's, a graph has the bits of single operators, and a run resumes") {
  if (!has_cuda()) return;
  // The second teacher's log-probabilities are those of an adaptive softmax.
  for (const char* const teacher :
       {R"({"model":"srupp","vocabulary":6,"d":48,"d_projected":12,"layers":2})",
        R"({"model":"lstm","vocabulary":6,"d":40,"layers":1,"cutoffs":[2,4],"adaptive":"pytorch"})"}) {
    CAPTURE(teacher);
    check_run(
        [teacher](Device device, const std::string& precision) {
          RunConfig config = run_in(precision);
          config.distillation = {
              .teacher = "in memory", .digest = "", .weight = 0.5, .temperature = 2, .imitate_steps = 8};
          Trainer trainer = make_trainer(config, device);
          trainer.set_teacher(make_teacher(make_model(teacher, 9, device), trainer.vocabulary(), "a test's"));
          return trainer;
        },
        1e-4);
  }
}

TEST_CASE("cuda: steps are enqueued, and their records come later, none lost") {
  if (!has_cuda()) return;
  const RunConfig config = run_in("bf16");
  Trainer one = make_trainer(config, kCuda), many = make_trainer(config, kCuda);
  const std::vector<double> expected = losses(one, 30);
  for (int i = 0; i < 30; ++i) many.advance();
  CHECK(contains(error_of([&many] { many.checkpoint(); }), "30 steps are not collected yet"));
  const std::vector<StepRecord> records = many.collect();
  REQUIRE(records.size() == 30);
  for (size_t i = 0; i < records.size(); ++i) {
    CHECK(records[i].step == static_cast<int64_t>(i) + 1);
    CHECK(records[i].loss == expected[i]);
  }
  CHECK(many.collect().empty());
}

TEST_CASE("cuda: stopping after any step and resuming gives the same losses bit for bit") {
  if (!has_cuda()) return;
  for (const std::string precision : {"f32", "bf16"}) {
    const RunConfig config = run_in(precision);
    Trainer whole = make_trainer(config, kCuda);
    const std::vector<double> expected = losses(whole, 20);
    const TempDir folder;
    const std::string path = folder / "resume";
    for (const int64_t stop : {0, 1, 4, 14, 15}) {
      CAPTURE(stop);
      Trainer before = make_trainer(config, kCuda);
      std::vector<double> seen = losses(before, stop);
      save_checkpoint(path, before.checkpoint());
      Trainer after = make_trainer(RunConfig::from_text(load_checkpoint(path).run_config), kCuda);
      after.restore(load_checkpoint(path));
      const std::vector<double> rest = losses(after, 20 - stop);
      seen.insert(seen.end(), rest.begin(), rest.end());
      CHECK(seen == expected);
    }
  }
}

TEST_CASE("cuda: a run resumes on the other device with nearly the same losses") {
  if (!has_cuda()) return;
  Trainer whole = make_trainer(run_in("f32"), kCuda);
  const std::vector<double> expected = losses(whole, 10);
  for (const std::string precision : {"f32", "bf16"}) {
    for (const bool to_cpu : {true, false}) {
      Trainer before = make_trainer(run_in(to_cpu ? precision : "f32"), to_cpu ? kCuda : Device::cpu());
      losses(before, 6);
      Trainer after = make_trainer(run_in(to_cpu ? "f32" : precision), to_cpu ? Device::cpu() : kCuda);
      after.restore(before.checkpoint());
      CHECK(losses(after, 4).back() == doctest::Approx(expected.back()).epsilon(5e-2));
    }
  }
}

TEST_CASE("cuda: steps that are not finite change nothing, and are explained") {
  if (!has_cuda()) return;
  for (const bool graph : {false, true}) {
    RunConfig config = run_in("bf16");
    config.max_skipped = 3;
    Trainer trainer = make_trainer(config, kCuda);
    trainer.use_graph(graph);
    losses(trainer, 6);
    Tensor weight;
    std::vector<NamedTensor> before;
    for (const NamedTensor& p : trainer.model().parameters())
      if (p.name == "layers.0.query.weight") weight = p.value;
    const Tensor kept = weight.clone();
    fill(weight.view_rows(0, 1), INFINITY);
    const StepRecord record = trainer.step();
    CHECK(record.skipped);
    CHECK(trainer.steps_skipped() == 1);
    copy(weight, kept);
    CHECK_FALSE(trainer.step().skipped);  // state and weights are still sound
    fill(weight.view_rows(0, 1), INFINITY);
    for (int i = 0; i < 3; ++i) trainer.advance();
    const std::string error = error_of([&trainer] { trainer.collect(); });
    CHECK(contains(error, "3 steps in a row"));
    CHECK(contains(error, "layers.0.query.weight"));
  }
}

TEST_CASE("cuda: no memory comes from the device after the third step, nor from the host's system") {
  if (!has_cuda() || !has_graphs()) return;
  if constexpr (kWithCuda) {
    for (const bool graph : {false, true}) {
      Trainer trainer = make_trainer(run_in("bf16"), kCuda);
      trainer.use_graph(graph);
      losses(trainer, graph ? 4 : 3);
      const int64_t calls = cuda::allocator().statistics().source_calls;
      losses(trainer, 20);
      CHECK(cuda::allocator().statistics().source_calls == calls);
    }
  }
}

TEST_CASE("cuda: what is idle is given back before a step becomes a graph") {
  if (!has_cuda() || !has_graphs()) return;
  if constexpr (kWithCuda) {
    Trainer trainer = make_trainer(run_in("bf16"), kCuda);
    losses(trainer, 1);
    { const Tensor idle({int64_t{1} << 28}, DType::u8, kCuda); }
    const size_t held = cuda::allocator().statistics().reserved;
    CHECK(held >= size_t{1} << 28);
    losses(trainer, 4);
    CHECK(trainer.uses_graph());
    CHECK(cuda::allocator().statistics().reserved < held - (size_t{1} << 27));
  }
}

TEST_CASE("cuda: evaluation and generation are the CPU's") {
  if (!has_cuda()) return;
  Trainer host = make_trainer(run_in("f32"));
  losses(host, 5);
  Trainer device = make_trainer(run_in("f32"), kCuda);
  device.restore(host.checkpoint());
  const auto bpc = [](const Trainer& trainer, MatmulPrecision precision) {
    const PrecisionScope scope(precision, trainer.device());
    const Tokens text(sample_text(), trainer.vocabulary());
    return score(TokenUnit::byte, evaluate(trainer.model(), text, {.window = 16}).mean_nats());
  };
  const double expected = bpc(host, MatmulPrecision::f32);
  CHECK(bpc(device, MatmulPrecision::f32) == doctest::Approx(expected).epsilon(1e-5));
  CHECK(bpc(device, MatmulPrecision::bf16) == doctest::Approx(expected).epsilon(1e-2));
  SamplingOptions sampling;
  sampling.temperature = 0;
  const auto text = [&sampling](const Trainer& trainer) {
    return generate_text(trainer.model(), trainer.vocabulary(), "abcabc", 40, sampling, {.memory = 16});
  };
  CHECK(text(device) == text(host));
  const PrecisionScope bf16_products(MatmulPrecision::bf16, kCuda);
  CHECK(text(device).size() == 40);
}

}  // namespace tandem::testing
