// Shards and ranks: every number is the same bits for any number of ranks. Here ranks are threads of this process;
// tests/tools/ranks_tool_test.cpp starts processes.
#include <doctest/doctest.h>

#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>

#include "tandem/data/subwords/pieces.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/evaluation.h"
#include "tandem/models/training/tensor_exchange.h"
#include "tandem/ops/gemm/precision.h"
#include "tandem/testing/check_model.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/same_bits.h"
#include "tests/support/small_models.h"
#include "tests/support/small_run.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/threads.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

struct Text {
  std::vector<uint8_t> bytes;
  Vocabulary vocabulary;

  explicit Text(size_t size, uint64_t letters)
      : bytes(random_text(size, letters)), vocabulary(Vocabulary::of(bytes)) {}
  Tokens tokens() const { return Tokens(bytes, vocabulary); }
};

// The results of a run: loss and gradient norm of every step, the whole file of its last checkpoint, the loss on the text.
struct Outcome {
  std::vector<double> losses, norms;
  std::string file;
  double dev = 0;
  bool operator==(const Outcome&) const = default;
};

// Trains on `ranks` threads for `steps`, from the beginning or from a file, and checks that all ranks agree.
Outcome train(const RunConfig& config, const Text& text, int ranks, int64_t steps,
              const std::string& from = "") {
  const TempDir folder;
  std::vector<Outcome> all(static_cast<size_t>(ranks));
  run_as_ranks(ranks, [&](const std::shared_ptr<Ranks>& group) {
    const Threads one(group->size() % 2 + 1);  // their number must not matter either
    Outcome& outcome = all[static_cast<size_t>(group->rank())];
    Trainer trainer(config, text.tokens(), text.vocabulary, Device::cpu(), group);
    if (!from.empty())
      trainer.restore(broadcast_checkpoint(*group, group->leads() ? load_checkpoint(from) : Checkpoint()));
    while (trainer.steps_done() < steps) {
      const StepRecord record = trainer.step();
      outcome.losses.push_back(record.loss);
      outcome.norms.push_back(record.gradient_norm);
    }
    const Checkpoint checkpoint = trainer.checkpoint();
    if (group->leads()) save_checkpoint(folder / "last", checkpoint);
    outcome.dev = evaluate_shards(trainer.model(), text.tokens().first(150),
                                  evaluation_options(config.recipe, config.recipe.eval_batch_size),
                                  config.recipe.shards, *group)
                      .total_nats;
  });
  for (Outcome& outcome : all) CHECK(outcome == all[0]);
  all[0].file = read_text(folder / "last");
  return all[0];
}

void check_same(const Outcome& a, const Outcome& b) {
  CHECK(a.losses == b.losses);
  CHECK(a.norms == b.norms);
  CHECK(a.dev == b.dev);
  CHECK(a.file == b.file);
}

RunConfig sharded_run(int64_t rows, int64_t shards, const std::string& optimizer = "radam") {
  RunConfig config = run_by(optimizer);
  config.recipe.batch_size = rows;
  config.recipe.shards = shards;
  config.recipe.unroll = 8;
  config.recipe.eval_batch_size = 3;
  return config;
}

Outcome rest_of(const Outcome& whole, size_t done) {
  Outcome rest = whole;
  rest.losses.erase(rest.losses.begin(), rest.losses.begin() + static_cast<std::ptrdiff_t>(done));
  rest.norms.erase(rest.norms.begin(), rest.norms.begin() + static_cast<std::ptrdiff_t>(done));
  return rest;
}

}  // namespace

TEST_CASE("ranks: a checkpoint that rank 0 sends keeps its vocabulary, whatever its level") {
  for (const Vocabulary& vocabulary :
       {Vocabulary::from_hex("6162"), Vocabulary::of_words("<unk>\n<eos>\na\n"),
        Vocabulary::of_subwords(model_of_pieces({"ab", "\xe2\x96\x81\xc3\xb6"}))}) {
    CAPTURE(name_of(vocabulary.level()));
    Checkpoint checkpoint;
    checkpoint.vocabulary = vocabulary;
    run_as_ranks(2, [&](const std::shared_ptr<Ranks>& group) {
      CHECK(broadcast_checkpoint(*group, group->leads() ? checkpoint : Checkpoint()).vocabulary ==
            vocabulary);
    });
  }
}

TEST_CASE("shards: every model and optimizer gives the same bits on 1, 2, 3 and 4 ranks") {
  const Text text(400, kSmallVocabulary);
  const std::string optimizers[] = {"radam", "adamw", "lamb", "nag", "muon"};
  for (size_t i = 0; const std::string& model : small_models()) {
    CAPTURE(model);
    nlohmann::json json = nlohmann::json::parse(model);
    json["vocabulary"] = kSmallVocabulary;
    json = nlohmann::json::parse(make_model(json.dump(), 1)->config());
    for (auto& [key, value] : json.items())
      if (key.ends_with("dropout") || key == "zoneout") value = 0.2;
    RunConfig config = sharded_run(4, 4);
    config.model_config = json.dump();
    config.recipe.optimizer = optimizers[i % 5];
    config.recipe.accumulate = static_cast<int64_t>(1 + i % 2);
    config.recompute = i % 3 == 0;
    config.recipe.reset_every = i % 2 == 0 ? 0 : 5;
    ++i;
    const Outcome alone = train(config, text, 1, 6);
    CHECK(alone.losses[0] != alone.losses[1]);
    for (const int ranks : {2, 3, 4}) {
      CAPTURE(ranks);
      check_same(train(config, text, ranks, 6), alone);
    }
  }
}

TEST_CASE(
    "shards: each optimizer, accumulation, recomputation and precision, in numbers of shards that are no powers of two") {
  const Text text(1200, 6);
  for (const std::string optimizer : {"radam", "adamw", "lamb", "nag", "muon"})
    for (const int64_t shards : {3, 6}) {
      RunConfig config = sharded_run(6, shards, optimizer);
      config.recipe.accumulate = shards == 3 ? 2 : 1;
      config.recompute = optimizer == "lamb";
      if (optimizer == "adamw" && cpu_has_bf16()) config.precision = "bf16";
      CAPTURE(optimizer);
      CAPTURE(shards);
      const Outcome alone = train(config, text, 1, 8);
      for (int ranks = 2; ranks <= shards && ranks <= 5; ++ranks) {
        CAPTURE(ranks);
        check_same(train(config, text, ranks, 8), alone);
      }
    }
}

TEST_CASE(
    "shards: parameters that several ranks update in parts, and gradients that are kept, have the same bits") {
  const Text text(600, 6);
  for (const std::string optimizer : {"radam", "muon"}) {
    CAPTURE(optimizer);
    RunConfig config = sharded_run(4, 4, optimizer);
    config.model_config =
        R"({"model": "lstm", "vocabulary": 6, "d": 96, "layers": 1})";  // 36,864 elements in a matrix
    const Outcome alone = train(config, text, 1, 4);
    for (const int ranks : {2, 3}) {
      CAPTURE(ranks);
      check_same(train(config, text, ranks, 4), alone);
    }
    Trainer one(config, text.tokens(), text.vocabulary);
    one.keep_gradients(true);
    one.step();
    run_as_ranks(3, [&](const std::shared_ptr<Ranks>& group) {
      Trainer trainer(config, text.tokens(), text.vocabulary, Device::cpu(), group);
      trainer.keep_gradients(true);
      trainer.step();
      REQUIRE(trainer.gradients().size() == one.gradients().size());
      for (size_t i = 0; i < one.gradients().size(); ++i)
        CHECK(same_bits(trainer.gradients()[i].value, one.gradients()[i].value));
      CHECK(contains(error_of([&trainer] { trainer.set_reduce(Reduce::fast); }), "after 1 steps"));
      CHECK(contains(error_of([&trainer] { trainer.set_bucket_bytes({}); }), "after 1 steps"));
    });
  }
}

TEST_CASE("shards: a run that is stopped on some ranks goes on on others as if it had never stopped") {
  const Text text(500, 6);  // 15 segments an epoch
  const RunConfig config = sharded_run(4, 4);
  const Outcome whole = train(config, text, 1, 20);
  const TempDir folder;
  for (const int64_t stop : {1, 7, 15})
    for (const std::pair<int, int>& ranks : {std::pair{4, 1}, {4, 3}, {1, 2}, {3, 4}}) {
      const int before = ranks.first, after = ranks.second;
      CAPTURE(stop);
      CAPTURE(before);
      CAPTURE(after);
      const Outcome first = train(config, text, before, stop);
      write_text(folder / "stopped", first.file);
      const Outcome rest = train(config, text, after, 20, folder / "stopped");
      check_same(rest, rest_of(whole, static_cast<size_t>(stop)));
    }
}

TEST_CASE(
    "shards: the loss is the mean over all rows, and shards change the masks and the order of addition alone") {
  const Text text(600, 6);
  RunConfig config = sharded_run(4, 1);
  nlohmann::json model = nlohmann::json::parse(config.model_config);
  model["dropout"] = model["attention_dropout"] = 0;
  config.model_config = model.dump();
  const Outcome whole = train(config, text, 1, 4);
  for (const int64_t shards : {2, 4}) {
    config.recipe.shards = shards;
    const Outcome cut = train(config, text, 1, 4);
    for (size_t i = 0; i < cut.losses.size(); ++i) {
      CHECK(cut.losses[i] == doctest::Approx(whole.losses[i]).epsilon(1e-5));
      CHECK(cut.norms[i] == doctest::Approx(whole.norms[i]).epsilon(1e-4));
    }
    CHECK(cut.dev == doctest::Approx(whole.dev).epsilon(1e-5));
  }
}

TEST_CASE("shards: one shard that is not finite makes all ranks skip the step, and then explain it") {
  const Text text(600, 6);
  RunConfig config = sharded_run(4, 4);
  config.max_skipped = 3;
  std::mutex mutex;
  std::vector<std::string> errors;
  run_as_ranks(3, [&](const std::shared_ptr<Ranks>& group) {
    Trainer trainer(config, text.tokens(), text.vocabulary, Device::cpu(), group);
    trainer.step();
    const Tensor weight = find_tensor(trainer.model().parameters(), "layers.0.query.weight");
    const float kept = weight.span<float>()[0];
    if (group->rank() == 2) weight.span<float>()[0] = INFINITY;
    CHECK(trainer.step().skipped);
    weight.span<float>()[0] = kept;
    CHECK(!trainer.step().skipped);
    CHECK(trainer.steps_skipped() == 1);
    CHECK(trainer.checkpoint().resumable());  // the weights are the same everywhere

    if (group->rank() == 2) weight.span<float>()[0] = INFINITY;
    CHECK(contains(error_of([&trainer] { trainer.checkpoint(); }), "rank 0 (test) and rank 2 (test)"));
    trainer.step();
    trainer.step();
    const std::string error = error_of([&trainer] { trainer.step(); });
    const std::lock_guard lock(mutex);
    errors.push_back(error);
  });
  REQUIRE(errors.size() == 3);
  for (const std::string& error : errors) {  // the rank that knows tells the others
    CHECK(contains(error, "3 steps in a row"));
    CHECK(contains(error, "layers.0.query.weight"));
  }
}

TEST_CASE("shards: the library's own reduction gives nearly the same, the same on all ranks") {
  const Text text(600, 6);
  const RunConfig config = sharded_run(6, 6);
  const Outcome exact = train(config, text, 1, 3);
  run_as_ranks(3, [&](const std::shared_ptr<Ranks>& group) {
    Trainer trainer(config, text.tokens(), text.vocabulary, Device::cpu(), group);
    trainer.set_reduce(Reduce::fast);
    for (const double loss : exact.losses) CHECK(trainer.step().loss == doctest::Approx(loss).epsilon(1e-4));
    trainer.checkpoint();  // checks that the weights are the same
    CHECK(trainer.exchange_seconds() > 0);
  });
  CHECK(reduce_named("exact") == Reduce::exact);
  CHECK(contains(error_of([] { reduce_named("slow"); }), "\"slow\"; use exact or fast"));
}

TEST_CASE("shards: numbers that do not fit are refused, with numbers that do") {
  RunConfig config = sharded_run(12, 5);
  CHECK(contains(error_of([&config] { config.check(); }),
                 "5 shards cannot share 12 rows evenly; use 4 or 6 shards"));
  config = sharded_run(4, 8);
  CHECK(contains(error_of([&config] { config.check(); }), "use 4 or 4 shards"));
  config = sharded_run(4, 2);
  const Text text(600, 6);
  CHECK(contains(error_of([&] {
                   run_as_ranks(3, [&](const std::shared_ptr<Ranks>& group) {
                     Trainer(config, text.tokens(), text.vocabulary, Device::cpu(), group);
                   });
                 }),
                 "3 ranks cannot share 2 shards"));
  // A checkpoint holds the state of its own number of shards.
  Trainer two(config, text.tokens(), text.vocabulary);
  two.step();
  const Checkpoint checkpoint = two.checkpoint();
  CHECK(RunConfig::from_text(checkpoint.run_config).recipe.shards == 2);
  CHECK(checkpoint.state.front().name.starts_with("shard.0."));
  config.recipe.shards = 4;
  Trainer four(config, text.tokens(), text.vocabulary);
  CHECK(contains(error_of([&] { four.restore(checkpoint); }), "of a run of 2 shards, this one has 4"));
  // One shard is what versions without shards wrote.
  config.recipe.shards = 1;
  CHECK(config.text().find("shards") == std::string::npos);
  CHECK(RunConfig::from_text(config.text()).recipe.shards == 1);
}
