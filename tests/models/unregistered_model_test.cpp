// A model that is in no registry trains, resumes and runs in a folder, as a prototype's does.
#include <doctest/doctest.h>

#include "tandem/models/layered_model.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/models/registry.h"
#include "tandem/models/sru/sru.h"
#include "tandem/models/training/evaluation.h"
#include "tandem/tools/run/training_run.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/small_run.h"

namespace tandem::testing {
namespace {

SruConfig sru_config() {
  SruConfig config;
  config.vocabulary = 6;
  config.d = 16;
  config.layers = 2;
  config.dropout = 0.1;
  return config;
}

// An SRU of two layers under a name that nobody has registered.
std::unique_ptr<LanguageModel> make_unregistered() {
  const SruConfig config = sru_config();
  Random random(7);
  const Initializer rows = [&random, &config](Shape shape) { return uniform(random, shape, 0.3, config); };
  const FrameConfig frame = {
      .input_width = config.d, .output_width = config.d, .input_dropout = config.dropout};
  return std::make_unique<LayeredModel>(config, R"({"model":"in-no-registry"})", frame, rows,
                                        [&](Layers& layers) {
                                          for (int64_t i = 0; i < config.layers; ++i)
                                            layers.push_back(std::make_unique<SruLayer>(config, i, random));
                                        });
}

RunConfig run_without_model() {
  RunConfig config = small_run();
  config.model_config.clear();
  return config;
}

Trainer trainer_of(std::unique_ptr<LanguageModel> model) {
  const Vocabulary vocabulary = Vocabulary::of(sample_text());
  return Trainer(std::move(model), run_without_model(), Tokens(sample_text(), vocabulary), vocabulary);
}

// Loads a text of the letters of sample_text().
Corpus corpus_in(const TempDir& folder) {
  const std::vector<uint8_t> bytes = random_text(4000);
  write_text(folder / "text", std::string(bytes.begin(), bytes.end()));
  CorpusOptions options;
  options.name_or_path = (folder / "text").string();
  return load_corpus(options);
}

}  // namespace

TEST_CASE("trainer: a model that the caller has built takes the steps that the registry's takes") {
  RunConfig config = small_run();
  config.model_config = sru_config().text();
  Trainer by_name = make_trainer(config);
  Trainer given = trainer_of(make_sru(sru_config(), config.seed));
  CHECK(losses(given, 10) == losses(by_name, 10));
  CHECK(given.config().model_config == sru_config().text());
}

TEST_CASE("trainer: a model in no registry resumes from its file bit for bit") {
  const TempDir folder;
  Trainer whole = trainer_of(make_unregistered()), before = trainer_of(make_unregistered()),
          after = trainer_of(make_unregistered());
  const std::vector<double> expected = losses(whole, 20);
  std::vector<double> seen = losses(before, 9);
  save_checkpoint((folder / "last").string(), before.checkpoint());
  const Checkpoint loaded = load_checkpoint((folder / "last").string());
  CHECK(RunConfig::from_text(loaded.run_config).model_config == R"({"model":"in-no-registry"})");
  after.restore(loaded);
  for (const double loss : losses(after, 11)) seen.push_back(loss);
  CHECK(seen == expected);
  CHECK(contains(error_of([&loaded] { make_model(loaded.model_config, 1); }), "in-no-registry is not known"));
}

TEST_CASE("trainer: without a model, or with one for another text, it is refused") {
  CHECK(contains(error_of([] { trainer_of(nullptr); }), "the model is null"));
  SruConfig other = sru_config();
  other.vocabulary = 5;
  CHECK(contains(error_of([&other] { trainer_of(make_sru(other, 1)); }), "the model knows 5 symbols"));
}

TEST_CASE("training run: a model in no registry is scored with its best weights, and keeps its own") {
  const TempDir folder;
  const Corpus corpus = corpus_in(folder);
  const RunConfig config = run_without_model();
  Trainer trainer(make_unregistered(), config, corpus.split("train"), corpus.vocabulary);
  RunOptions options;
  options.folder = folder / "run";
  options.sample_tokens = 20;
  CHECK(run_training(trainer, corpus, options) == RunEnd::done);

  const auto values = [](const std::vector<NamedTensor>& parameters) {
    std::vector<std::vector<float>> all;
    for (const NamedTensor& parameter : parameters) all.push_back(parameter.value.to_vector<float>());
    return all;
  };
  const Checkpoint last = load_checkpoint((folder / "run" / kLastCheckpoint).string()),
                   best = load_checkpoint((folder / "run" / kBestCheckpoint).string());
  CHECK(values(trainer.model().parameters()) == values(last.parameters));

  // The score in the metrics is that of the best weights.
  const auto model = make_unregistered();
  model->load(best.parameters);
  const Evaluation test = evaluate(*model, corpus.split("test"), evaluation_options(config.recipe, 1));
  const std::string metrics = read_text(folder / "run" / kMetrics);
  const size_t at = metrics.find("\"test_nats\":");
  REQUIRE(at != std::string::npos);
  CHECK(std::stod(metrics.substr(at + 12)) == test.mean_nats());
}

}  // namespace tandem::testing
