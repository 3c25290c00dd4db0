// Checkpoints from outside: altered bits, configurations that do not fit the file, and very many tensors.
#include "tandem/models/training/checkpoint.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <memory>
#include <random>

#include "tandem/core/host_memory.h"
#include "tandem/core/safetensors.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/model_file.h"
#include "tests/support/digest_verification.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/processor_time.h"

namespace tandem::testing {
namespace {

constexpr const char* kConfig = R"({"model":"srupp","vocabulary":5,"d":8,"d_projected":4,"layers":2})";

Checkpoint small_checkpoint() {
  const std::unique_ptr<LanguageModel> model = make_model(kConfig, 3);
  Checkpoint checkpoint;
  checkpoint.model_config = model->config();
  checkpoint.progress = R"({"step":12})";
  checkpoint.vocabulary = Vocabulary::from_hex("6162630a64");
  checkpoint.parameters = model->parameters();
  checkpoint.optimizer = {{"steps", zeros({1}, DType::i32)}};
  return checkpoint;
}

// Returns the error of loading a checkpoint with this configuration, and checks that it takes little time and memory.
std::string cheap_error(const std::string& path, const Checkpoint& checkpoint) {
  save_checkpoint(path, checkpoint);
  host_allocator().release_cached();
  host_allocator().reset_peak();
  const size_t before = host_allocator().statistics().in_use;
  std::string message;
  CHECK(processor_seconds([&] { message = error_of([&path] { load_model_file(path); }); }) < 5);
  CHECK(host_allocator().statistics().peak_in_use - before < size_t{64} << 20);
  CHECK(contains(message, path));
  return message;
}

}  // namespace

TEST_CASE("checkpoint: a single altered bit is refused wherever it lies") {
  const TempDir folder;
  const std::string path = folder / "model.safetensors";
  save_checkpoint(path, small_checkpoint());
  const std::string good = read_text(path);
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::string bytes = good;
    const size_t bit = random() % (8 * good.size());
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    write_text(path, bytes);
    CAPTURE(bit);
    CHECK(contains(error_of([&path] { load_checkpoint(path); }), path));
  }
}

TEST_CASE("checkpoint: damage to the optimizer's state does not keep the model from being loaded") {
  const TempDir folder;
  const std::string path = folder / "model.safetensors";
  save_checkpoint(path, small_checkpoint());
  std::string bytes = read_text(path);
  bytes[SafetensorsFile::open(path).offset("optimizer.steps")] ^= 1;
  write_text(path, bytes);
  CHECK(load_model_file(path).kind == "checkpoint of Tandem, step 12");
  CHECK(contains(error_of([&path] { load_checkpoint(path); }),
                 "tensor \"optimizer.steps\" is altered or damaged since it was written"));
  const DigestVerification off(false);
  CHECK(load_checkpoint(path).optimizer[0].value.item() == 1);
}

TEST_CASE("checkpoint: the second format demands digests, and the first is read without them") {
  const TempDir folder;
  const std::string path = folder / "model.safetensors";
  save_checkpoint(path, small_checkpoint());
  const SafetensorsFile file = SafetensorsFile::open(path);
  CHECK(file.metadata().at("format") == "tandem-checkpoint-2");
  for (const char* format : {"tandem-checkpoint-2", "tandem-checkpoint-1"}) {
    auto metadata = file.metadata();
    metadata["format"] = format;
    std::vector<TensorInfo> infos;
    std::string data;
    for (const std::string& name : file.names()) {
      const Tensor tensor = file.get(name);
      infos.push_back({name, tensor.dtype(), tensor.shape()});
      data.append(static_cast<const char*>(tensor.raw()), tensor.nbytes());
    }
    write_text(folder / "plain", safetensors_header("plain", infos, metadata) + data);
    const std::string message = error_of([&] { load_checkpoint(folder / "plain"); });
    if (format == std::string("tandem-checkpoint-1"))
      CHECK(message == "no error");
    else
      CHECK(contains(message, "it has no digests, which its format demands"));
  }
}

TEST_CASE("checkpoint: a configuration of a larger model than the file's is refused before memory is taken") {
  const TempDir folder;
  Checkpoint checkpoint = small_checkpoint();
  for (
      const char* config :
      {R"({"model":"srupp","vocabulary":5,"d":8,"d_projected":4,"layers":10000})",
       R"({"model":"srupp","vocabulary":1000000000,"d":8,"d_projected":4,"layers":2})",
       R"({"model":"srupp","vocabulary":5,"d":1000000000,"d_projected":4,"layers":2})",
       R"({"model":"srupp","vocabulary":5,"d":20000,"d_projected":20000,"layers":2})",
       R"({"model":"lstm","vocabulary":5,"d":100000,"layers":2})",
       R"({"model":"sha-rnn","vocabulary":5,"d":32,"d_boom":1000000000,"layers":2})",
       R"({"model":"transformer-xl","vocabulary":5,"layers":10000,"d":32,"heads":2,"d_head":16,"d_inner":64})",
       R"({"model":"evolved-transformer","vocabulary":5,"d":4096,"heads":2,"blocks":1000})",
       R"({"model":"stack","vocabulary":5,"d":512,"layers":"sru*1000,sru*1000"})"}) {
    CAPTURE(config);
    checkpoint.model_config = config;
    CHECK(contains(cheap_error(folder / "model.safetensors", checkpoint),
                   "the configuration describes a model that is larger than the file's 19 parameters of "));
  }
}

TEST_CASE("checkpoint: a configuration with impossible numbers, or nested deeply, is refused at once") {
  const TempDir folder;
  Checkpoint checkpoint = small_checkpoint();
  const auto error = [&] { return cheap_error(folder / "model.safetensors", checkpoint); };
  checkpoint.model_config = R"({"model":"srupp","vocabulary":5,"d":8,"d_projected":4,"layers":1000000000})";
  CHECK(contains(error(), "srupp: 1000000000 layers; give 1 to 10000"));
  checkpoint.model_config = R"({"model":"stack","vocabulary":5,"d":8,"layers":"sru*1000)";
  for (int i = 0; i < 20'000; ++i) checkpoint.model_config += ",sru*1000";
  checkpoint.model_config += "\"}";
  CHECK(contains(error(), "stack: 11000 layers; give 1 to 10000"));
  checkpoint.model_config = R"({"model":"srupp","vocabulary":5,"d":4611686018427387904})";
  CHECK(
      contains(error(), "srupp: configuration field d is 4611686018427387904; numbers go up to 1073741824"));
  checkpoint.model_config = R"({"model":"srupp","vocabulary":18446744073709551615})";
  CHECK(contains(error(), "srupp: configuration field vocabulary has a value of the wrong type"));
  checkpoint.model_config = R"({"model":"srupp","cutoffs":[1,-9223372036854775808]})";
  CHECK(contains(error(), "srupp: configuration field cutoffs is [1,-9223372036854775808]"));
  std::string nested = R"({"model":"srupp","d":)";
  checkpoint.model_config = nested + std::string(100'000, '[') + std::string(100'000, ']') + "}";
  CHECK(contains(error(), "nested more than 32 deep"));
  checkpoint.model_config = R"({"model":"srupp","heads":{},"vocabulary":5})";
  CHECK(contains(error(), "the field \"heads\" has a value of the wrong type or size: {}"));
  checkpoint.model_config = R"({"model":"\u001b[2J)" + std::string(1 << 20, 'x') + "\"}";
  CHECK(error().size() < 1000);

  checkpoint = small_checkpoint();
  for (const std::string& progress : {std::string(100'000, '['), std::string("{\"step\":{}}"),
                                      std::string("{\"step\":1e300}"), std::string("{}"), std::string("x")}) {
    checkpoint.progress = progress;
    CHECK(contains(error(), "the checkpoint's progress"));
  }
}

// Returns the text with one to three random changes, of the characters that JSON and its numbers are made of.
std::string damaged(std::string text, std::mt19937& random) {
  for (unsigned change = 1 + random() % 3; change > 0 && !text.empty(); --change) {
    const size_t at = random() % text.size();
    const char other = "0123456789999[]{}\",:-.ex"[random() % 25];
    switch (random() % 3) {
      case 0:
        text[at] = other;
        break;
      case 1:
        text.insert(at, 1 + random() % 12, other);
        break;
      default:
        text.erase(at, 1 + random() % 4);
    }
  }
  return text;
}

TEST_CASE("checkpoint: files whose metadata are damaged at random are loaded or refused with their name") {
  const TempDir folder;
  const std::string path = folder / "model.safetensors";
  Checkpoint checkpoint = small_checkpoint();
  checkpoint.masks = prune(checkpoint.parameters, 0.5, PruningScope::layer);
  for (NamedTensor& parameter : checkpoint.parameters) {
    if (!is_compressed(parameter) || parameter.name.starts_with("layers.1")) continue;
    const Quantized q = quantize(parameter.value, 5, true);
    parameter.value = dequantize(q);
    checkpoint.quantized.emplace(parameter.name, q);
  }
  save_checkpoint(path, checkpoint);
  CHECK(load_model_file(path).quantized.size() > 3);
  const SafetensorsFile file = SafetensorsFile::open(path);
  NamedTensors tensors;
  for (const std::string& name : file.names()) tensors.emplace_back(name, file.get(name));
  const std::vector<std::string> keys = {"compressed", "compressed", "model", "progress", "vocab"};
  std::mt19937 random(1);
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    auto metadata = file.metadata();
    std::string& text = metadata.at(keys[random() % keys.size()]);
    text = damaged(text, random);
    CAPTURE(text);
    write_safetensors(path, tensors, metadata);
    try {
      load_model_file(path);
    } catch (const Error& error) {
      ++refused;
      if (std::string(error.what()).find(path) == std::string::npos) FAIL("no path in: " << error.what());
    }
  }
  CHECK(refused > 150);
}

TEST_CASE("checkpoint: the time to load one grows with its tensors, not with their square") {
  const TempDir folder;
  const std::string path = folder / "model.safetensors";
  const Tensor matrix = zeros({2, 2}, DType::f32);
  const Quantized q = quantize(matrix, 8, true);
  const auto save_and_load = [&](int tensors) {
    auto checkpoint = std::make_shared<Checkpoint>(small_checkpoint());
    checkpoint->parameters.clear();
    for (int i = 0; i < tensors; ++i) {
      const std::string name = "layers." + std::to_string(i) + ".weight";
      checkpoint->parameters.push_back({name, matrix});
      checkpoint->masks.push_back({name, full({2, 2}, 1, DType::u8)});
      checkpoint->quantized.emplace(name, q);
    }
    return [path, checkpoint, tensors] {
      save_checkpoint(path, *checkpoint);
      CHECK(load_checkpoint(path).quantized.size() == static_cast<size_t>(tensors));
    };
  };
  CHECK(grows_linearly(save_and_load, 1000));
}

}  // namespace tandem::testing
