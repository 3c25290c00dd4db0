// Reading models from both kinds of files.
#include "tandem/models/training/model_file.h"

#include <nlohmann/json.hpp>

#include "tandem/core/safetensors.h"
#include "tandem/models/presets.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/checkpoint.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/golden.h"
#include "tests/support/op_cases.h"

namespace tandem::testing {
namespace {

const char* kConfig =
    R"({"model":"srupp","vocabulary":5,"d":12,"d_projected":4,"layers":2,"heads":2,"attention_every":2})";

Checkpoint small_checkpoint() {
  const std::unique_ptr<LanguageModel> model = make_model(kConfig, 3);
  Checkpoint checkpoint;
  checkpoint.model_config = model->config();
  checkpoint.vocabulary = Vocabulary::from_hex("6162630a64");
  checkpoint.parameters = model->parameters();
  return checkpoint;
}

std::map<std::string, std::vector<double>> values(const std::vector<NamedTensor>& tensors) {
  std::map<std::string, std::vector<double>> all;
  for (const NamedTensor& tensor : tensors)
    all[tensor.name] = tensor.value.to(DType::f64).to_vector<double>();
  return all;
}

NamedTensors authors_tensors() {
  const SafetensorsFile file = SafetensorsFile::open(golden_path("srupp/weights.safetensors"));
  NamedTensors tensors;
  for (const std::string& name : file.names()) tensors.emplace_back(name, file.get(name));
  return tensors;
}

TEST_CASE("model file: a checkpoint gives the model, vocabulary and run that were saved") {
  const TempDir folder;
  const std::string path = folder / "model.safetensors";
  Checkpoint checkpoint = small_checkpoint();
  save_checkpoint(path, checkpoint);
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const int64_t heads : {0, 2}) {
      const LoadedModel loaded = load_model_file(path, heads, dtype);
      CHECK(values(loaded.model->parameters()) == values(checkpoint.parameters));
      CHECK(loaded.model->dtype() == dtype);
      CHECK(loaded.vocabulary == checkpoint.vocabulary);
      CHECK(loaded.kind == "checkpoint of Tandem");
      CHECK_FALSE(loaded.run);
    }
  }

  RunConfig run;
  run.corpus = "gcide";
  run.test_fraction = 0.125;
  run.recipe = preset("srupp", "laptop").recipe;
  run.recipe.eval_window = 77;
  checkpoint.run_config = run.text();
  checkpoint.progress = R"({"step":1200})";
  checkpoint.optimizer = checkpoint.state = checkpoint.parameters;
  save_checkpoint(path, checkpoint);
  const Checkpoint part = load_checkpoint(path, CheckpointPart::model);
  CHECK(values(part.parameters) == values(checkpoint.parameters));
  CHECK(part.optimizer.empty());
  CHECK(part.state.empty());
  CHECK(load_checkpoint(path).optimizer.size() == checkpoint.parameters.size());
  const LoadedModel loaded = load_model_file(path);
  REQUIRE(loaded.run);
  CHECK(loaded.run->recipe.eval_window == 77);
  CHECK(loaded.run->corpus == "gcide");
  CHECK(loaded.run->test_fraction == 0.125);
  CHECK(loaded.kind == "checkpoint of Tandem, step 1200");
}

TEST_CASE("model file: the authors' weights") {
  const std::string path = golden_path("srupp/weights.safetensors");
  const LoadedModel loaded = load_model_file(path);
  CHECK(loaded.model->vocabulary_size() == 99);
  CHECK(loaded.vocabulary.size() == 99);
  CHECK(loaded.vocabulary.id(0x0a) == 0);
  CHECK(loaded.vocabulary.id(0x20) == 1);
  // Both embeddings and the output bias, and four layers of 4dd' + 2d'^2 + 2d' + 1 + 4d.
  CHECK(loaded.model->parameter_count() == 2 * 99 * 64 + 99 + 4 * (4 * 64 * 16 + 2 * 256 + 32 + 1 + 256));
  CHECK(loaded.model->dtype() == DType::f32);
  CHECK(load_model_file(path, 1, DType::f64).model->dtype() == DType::f64);
  CHECK_FALSE(loaded.run);
  CHECK(nlohmann::json::parse(loaded.model->config())["heads"] == 1);
  CHECK(nlohmann::json::parse(load_model_file(path, 4).model->config())["heads"] == 4);
}

TEST_CASE("model file: errors name the file and what is wrong") {
  const TempDir folder;
  const std::string path = folder / "model.safetensors";
  const auto error = [&path](int64_t heads = 0, DType dtype = DType::f32) {
    const std::string message = error_of([&] { load_model_file(path, heads, dtype); });
    CHECK(contains(message, path));
    return message;
  };

  CHECK(contains(error(), "No such file"));
  write_text(path, std::string("PK\x03\x04 a pickled state_dict, as torch.save() makes it"));
  CHECK(contains(error(), "expected a checkpoint of Tandem or the authors' SRU++ weights"));
  write_safetensors(path, {{"some.weight", zeros({2}, DType::f32)}});
  CHECK(
      contains(error(), "not a model: 1 tensors, the first is some.weight; expected a checkpoint of Tandem"));
  write_safetensors(path, {});
  CHECK(contains(error(), "not a model: 0 tensors; expected"));

  Checkpoint checkpoint = small_checkpoint();
  save_checkpoint(path, checkpoint);
  CHECK(contains(error(4), "heads are given as 4, but this checkpoint was trained with 2"));
  CHECK(contains(error(-1), "heads are -1"));
  CHECK(contains(error(0, DType::bf16), "in f32 or f64, not in bf16"));
  std::erase_if(checkpoint.parameters,
                [](const NamedTensor& tensor) { return tensor.name == "output.bias"; });
  save_checkpoint(path, checkpoint);
  CHECK(contains(error(), "no value for parameter output.bias"));
  checkpoint = small_checkpoint();
  checkpoint.vocabulary = Vocabulary::from_hex("6162");
  save_checkpoint(path, checkpoint);
  CHECK(contains(error(), "the vocabulary has 2 symbols, the model predicts 5"));
  checkpoint = small_checkpoint();
  checkpoint.model_config = "[]";
  save_checkpoint(path, checkpoint);
  CHECK(contains(error(), "not a JSON object"));
  checkpoint.model_config = R"({"model":"transducer"})";
  save_checkpoint(path, checkpoint);
  CHECK(contains(error(), "transducer is not known"));
  checkpoint = small_checkpoint();
  checkpoint.run_config = "{}";
  save_checkpoint(path, checkpoint);
  CHECK(contains(error(), "run configuration"));
  write_safetensors(path, {}, {{"format", "tandem-checkpoint-999"}, {"model", "{}"}});
  CHECK(contains(error(), "tandem-checkpoint-1"));
}

TEST_CASE("model file: errors of the authors' weights") {
  const TempDir folder;
  const std::string path = folder / "authors.safetensors";
  const NamedTensors tensors = authors_tensors();
  const std::string vocabulary =
      SafetensorsFile::open(golden_path("srupp/weights.safetensors")).metadata().at("vocab");
  const auto error = [&path](int64_t heads = 0) {
    const std::string message = error_of([&] { load_model_file(path, heads); });
    CHECK(contains(message, path));
    return message;
  };

  write_safetensors(path, tensors);
  CHECK(contains(error(), "need the metadata \"vocab\""));
  write_safetensors(path, tensors, {{"vocab", vocabulary.substr(2)}});
  CHECK(contains(error(), "the vocabulary has 98 symbols, the model predicts 99"));
  write_safetensors(path, tensors, {{"vocab", "0x" + vocabulary.substr(2)}});
  CHECK(contains(error(), "hex digits"));
  write_safetensors(path, tensors, {{"vocab", vocabulary}});
  CHECK(contains(error(3), "heads must divide d'"));

  NamedTensors fewer = tensors;
  std::erase_if(fewer, [](const auto& tensor) { return tensor.first == "output_layer.bias"; });
  write_safetensors(path, fewer, {{"vocab", vocabulary}});
  CHECK(contains(error(), "there is no tensor output_layer.bias"));
}

// Returns a checkpoint in 8 bits, with pruned matrices if `sparsity` is not 0.
Checkpoint quantized_checkpoint(const std::string& config, double sparsity) {
  const std::unique_ptr<LanguageModel> model = make_model(config, 3);
  Checkpoint checkpoint;
  checkpoint.model_config = model->config();
  checkpoint.vocabulary = Vocabulary::from_hex("6162630a64");
  checkpoint.parameters = model->parameters();
  if (sparsity > 0) checkpoint.masks = prune(checkpoint.parameters, sparsity, PruningScope::global);
  for (NamedTensor& parameter : checkpoint.parameters) {
    if (!is_compressed(parameter)) continue;
    const Quantized q = quantize(parameter.value, 8, sparsity > 0);
    parameter.value = dequantize(q);
    checkpoint.quantized.emplace(parameter.name, q);
  }
  return checkpoint;
}

TEST_CASE(
    "model file: compressed weights load as the values of their codes, and the kind names the compression") {
  const TempDir folder;
  const std::string path = folder / "model.safetensors";
  for (const double sparsity : {0.0, 0.6}) {
    const Checkpoint checkpoint = quantized_checkpoint(kConfig, sparsity);
    save_checkpoint(path, checkpoint);
    const LoadedModel loaded = load_model_file(path);
    CHECK(values(loaded.model->parameters()) == values(checkpoint.parameters));
    const std::string pruned = sparsity > 0 ? ", 60" : "";  // not exactly 60 %: a whole number of weights
    CHECK(loaded.kind.starts_with("checkpoint of Tandem, 8-bit weights" + pruned));
    CHECK(loaded.kind.ends_with(sparsity > 0 ? " % pruned" : " weights"));
    CHECK(loaded.quantized.size() == checkpoint.quantized.size());
    CHECK(values(load_model_file(path, 0, DType::f64).model->parameters()) == values(checkpoint.parameters));
  }
}

TEST_CASE(
    "model file: products in int8 are close to those of the same weights in f32, in every kind of model") {
  const TempDir folder;
  const std::string path = folder / "model.safetensors";
  const Tensor tokens = random_ids({17, 3}, 5, 1), targets = random_ids({17, 3}, 5, 2);
  for (const char* config :
       {R"({"model":"srupp","vocabulary":5,"d":64,"d_projected":32,"layers":2})",
        R"({"model":"lstm","vocabulary":5,"d":48,"layers":2,"tied":true})",
        R"({"model":"sha-rnn","vocabulary":5,"d":32,"d_boom":64,"layers":2})",
        R"({"model":"transformer-xl","vocabulary":5,"layers":2,"d":32,"heads":2,"d_head":16,"d_inner":64})",
        R"({"model":"lstm","vocabulary":5,"d":32,"layers":1,"cutoffs":[2,4],"band_divisor":2})"}) {
    CAPTURE(config);
    save_checkpoint(path, quantized_checkpoint(config, 0.3));
    const auto losses = [&](bool int8) {
      const LoadedModel loaded = load_model_file(path);
      if (int8) multiply_in_int8(loaded);
      State state;
      return loaded.model->token_losses(tokens, targets, state, ForwardOptions{})
          .to(DType::f64)
          .to_vector<double>();
    };
    const std::vector<double> f32 = losses(false), int8 = losses(true);
    double worst = 0;
    for (size_t i = 0; i < f32.size(); ++i) worst = std::max(worst, std::abs(int8[i] - f32[i]));
    CHECK(worst > 0);
    CHECK(worst < 0.02);  // nats a symbol
  }
}

}  // namespace
}  // namespace tandem::testing
