// Checkpoints of version 0.1 still load: the run goes on with the numbers of then, and its best weights score the same.
#include <doctest/doctest.h>

#include "tandem/data/corpus.h"
#include "tandem/models/training/evaluation.h"
#include "tandem/models/training/model_file.h"
#include "tandem/models/training/trainer.h"
#include "tests/support/golden.h"
#include "tests/support/old_run.h"

namespace tandem::testing {
namespace {

Corpus old_text(const RunConfig& config) {
  CorpusOptions options;
  options.name_or_path = golden_path("old_run/text.txt");
  options.valid_fraction = config.valid_fraction;
  options.test_fraction = config.test_fraction;
  return load_corpus(options);
}

TEST_CASE("old run: a checkpoint of version 0.1 resumes with the numbers of the uninterrupted run") {
  const Checkpoint checkpoint = load_checkpoint(golden_path("old_run/last.safetensors"));
  const RunConfig config = RunConfig::from_text(checkpoint.run_config);
  const Corpus corpus = old_text(config);
  REQUIRE(corpus.sha256 == config.corpus_sha256);

  Trainer trainer(config, corpus.split("train"), corpus.vocabulary);
  trainer.restore(checkpoint);
  CHECK(trainer.steps_done() == 20);
  CHECK(trainer.counters.best_step == 20);
  CHECK(trainer.counters.best_dev_nats == kOldRunDevNats);
  const auto expected = read_steps(golden_path("old_run/uninterrupted.jsonl"));
  REQUIRE(expected.size() == 40);
  for (int64_t step = 21; step <= 40; ++step) {
    CAPTURE(step);
    const StepRecord record = trainer.step();
    CHECK(record.step == step);
    CHECK(record.loss == doctest::Approx(expected.at(step).loss).epsilon(kOldRunTolerance));
    CHECK(record.gradient_norm == doctest::Approx(expected.at(step).gradient_norm).epsilon(kOldRunTolerance));
  }
}

TEST_CASE("old run: the best weights of version 0.1 score what they scored then") {
  const LoadedModel loaded = load_model_file(golden_path("old_run/best.safetensors"));
  REQUIRE(loaded.run);
  const Recipe& recipe = loaded.run->recipe;
  const Evaluation dev = evaluate(*loaded.model, old_text(*loaded.run).split("dev"),
                                  evaluation_options(recipe, recipe.eval_batch_size));
  CHECK(dev.mean_nats() == doctest::Approx(kOldRunDevNats).epsilon(kOldRunTolerance));
  CHECK(dev.symbols == 298);
}

}  // namespace
}  // namespace tandem::testing
