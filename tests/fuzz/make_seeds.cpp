// make_seeds FOLDER: writes the seeds that the library itself can make, in the formats of now. Take from the folder what
// is new; seeds of earlier formats stay as they are.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tandem/core/array.h"
#include "tandem/core/safetensors.h"
#include "tandem/data/subwords/pieces.h"
#include "tandem/data/token_file.h"
#include "tandem/models/registry.h"
#include "tandem/models/srupp/authors_weights.h"
#include "tandem/models/training/trainer.h"

namespace tandem::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModels[] = {
    R"({"model":"lstm","d":8,"d_embedding":6,"layers":2,"tied":true,"variational":true})",
    R"({"model":"lstm","d":8,"layers":1,"cutoffs":[2,6],"band_divisor":2,"adaptive":"pytorch"})",
    R"({"model":"qrnn","d":4,"d_embedding":6,"layers":2,"first_window":1,"window":2,"pooling":"ifo"})",
    R"({"model":"sha-rnn","d":4,"d_boom":8,"layers":2,"attention_blocks":2})",
    R"({"model":"shaq","d":4,"d_boom":8,"layers":2,"window":1})",
    R"({"model":"sru","d":4,"d_embedding":6,"d_projected":2,"layers":2})",
    R"({"model":"srupp","d":6,"d_projected":4,"layers":3,"heads":2,"attention_every":2})",
    R"({"model":"srupp","d":6,"d_projected":4,"layers":2,"attention_every":0,"attention_last":1,"conv_width":3,"short_conv_width":2})",
    R"({"model":"srupp","d":6,"d_projected":4,"layers":1,"cutoffs":[3,7],"band_width":4,"band_divisor":2})",
    R"({"model":"stack","layers":"srupp*2,attention,lstm,feed-forward,qrnn,sru","d":4,"d_projected":2,"heads":2})",
    R"({"model":"transformer","layers":1,"d":4,"heads":2,"d_head":2,"d_inner":6,"conv_width":2})",
    R"({"model":"transformer-xl","layers":1,"d":4,"heads":1,"d_head":4,"d_inner":6,"norm":"before"})",
    R"({"model":"primer","layers":1,"d":4,"heads":2,"d_head":2,"d_inner":6})",
    R"({"model":"evolved-transformer","blocks":1,"d":4,"heads":2})",
    R"({"model":"min-gru","d":4,"d_inner":6,"d_feed_forward":8,"layers":1})",
    R"({"model":"griffin","d":4,"d_recurrent":6,"d_feed_forward":8,"layers":2,"blocks":2,"attention_every":2,"heads":2})",
    R"({"model":"gated-deltanet","d":4,"heads":2,"d_key":2,"d_value":3,"d_feed_forward":8,"layers":1})"};

class Seeds {
 public:
  explicit Seeds(const fs::path& folder) : folder_(folder) {}
  std::string path(const std::string& harness, const std::string& name) const {
    fs::create_directories(folder_ / harness);
    return (folder_ / harness / name).string();
  }
  void write(const std::string& harness, const std::string& name, const std::string& text) const {
    std::ofstream(path(harness, name), std::ios::binary) << text;
  }

 private:
  fs::path folder_;
};

std::string with_vocabulary(const std::string& model, int64_t size) {
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(model);
  config["vocabulary"] = size;
  return config.dump();
}

void write_models(const Seeds& seeds) {
  for (size_t i = 0; i < std::size(kModels); ++i)
    seeds.write("model_config", std::to_string(i) + ".json",
                make_model(with_vocabulary(kModels[i], 11), 1)->config());
}

// Checkpoints of a tiny run, as it is and compressed; with it its configuration and its progress.
void write_checkpoints(const Seeds& seeds) {
  const std::vector<uint8_t> text(100, 'a');
  RunConfig config;
  const Vocabulary vocabulary = Vocabulary::of(text);
  config.model_config = make_model(R"({"model":"sru","d":2,"layers":1,"vocabulary":1})", 1)->config();
  config.recipe = laptop_recipe(1e-3, 100);
  config.recipe.batch_size = 2;
  config.recipe.unroll = 4;
  Trainer trainer(config, Tokens(text, vocabulary), vocabulary);
  trainer.step();
  Checkpoint checkpoint = trainer.checkpoint();
  seeds.write("run_config", "bytes.json", checkpoint.run_config);
  seeds.write("progress", "start.json", checkpoint.progress);
  save_checkpoint(seeds.path("checkpoint", "resumable.safetensors"), checkpoint);

  checkpoint = trainer.weights();
  checkpoint.masks = prune(checkpoint.parameters, 0.5, PruningScope::layer);
  save_checkpoint(seeds.path("checkpoint", "pruned.safetensors"), checkpoint);
  for (NamedTensor& parameter : checkpoint.parameters) {
    if (!is_compressed(parameter)) continue;
    const Quantized q = quantize(parameter.value, 5, true);
    checkpoint.quantized.emplace(parameter.name, q);
    parameter.value = dequantize(q);
  }
  save_checkpoint(seeds.path("checkpoint", "pruned_5_bits.safetensors"), checkpoint);
  checkpoint.masks.clear();
  checkpoint.vocabulary = Vocabulary::of_words("<unk>\n<eos>\n");
  save_checkpoint(seeds.path("checkpoint", "words_5_bits.safetensors"), checkpoint);
}

void write_token_file(const Seeds& seeds) {
  const Vocabulary words = Vocabulary::of_words("the\n<unk>\n<eos>\nsea\n");
  const TokenFileInfo info{"a text", "key", {{{0, 4}, {4, 6}, {6, 7}}}, 7};
  TokenFileWriter writer(seeds.path("token_file", "seven.tokens"), info, words);
  writer.write(0, std::vector<int32_t>{0, 3, 2, 1, 2, 0, 2});
  writer.commit();
}

void write_subwords(const Seeds& seeds) {
  const std::string model = model_of_pieces({"th", "\xe2\x96\x81", "\xe2\x96\x81th", "ö", "t", "h"});
  seeds.write("subwords", "model.bin", model);
  seeds.write("subwords", "pieces.txt", "th\n\xe2\x96\x81\n\xe2\x96\x81th\nö\nt\nh\n");
  seeds.write("subwords", "text.bin", std::string("the  größe\t\0\n\xff\xe2\x96\x81 <0x41><unk>", 31));
  Checkpoint checkpoint;
  checkpoint.model_config = make_model(R"({"model":"sru","d":2,"layers":1,"vocabulary":262})", 1)->config();
  checkpoint.vocabulary = Vocabulary::of_subwords(model);
  checkpoint.parameters = make_model(checkpoint.model_config, 1)->parameters();
  save_checkpoint(seeds.path("checkpoint", "subwords.safetensors"), checkpoint);
  TokenFileWriter writer(seeds.path("token_file", "subwords.tokens"),
                         {"a text", "key", {{{0, 1}, {1, 2}, {2, 3}}}, 3}, checkpoint.vocabulary);
  writer.write(0, std::vector<int32_t>{256, 10, 258});
  writer.commit();
}

void write_authors_weights(const Seeds& seeds) {
  for (const int64_t every : {1, 2, 0}) {
    SruppConfig config;
    config.vocabulary = 3;
    config.d = 4;
    config.d_projected = 2;
    config.layers = 2;
    config.attention_every = every;
    NamedTensors tensors;
    for (const NamedTensor& tensor : to_authors_layout(make_srupp(config, 1)->parameters(), config))
      tensors.emplace_back(tensor.name, tensor.value);
    write_safetensors(seeds.path("authors_weights", "every_" + std::to_string(every) + ".safetensors"),
                      tensors, {{"vocab", "616263"}});
  }
}

void write_safetensors_seeds(const Seeds& seeds) {
  write_safetensors(seeds.path("safetensors", "dtypes.safetensors"),
                    {{"f64", Tensor({1}, DType::f64)},
                     {"i64", Tensor({2}, DType::i64)},
                     {"f32", Tensor({2, 3}, DType::f32)},
                     {"i32", Tensor({3, 1}, DType::i32)},
                     {"bf16", Tensor({1, 1, 2}, DType::bf16)},
                     {"u8", Tensor({5}, DType::u8)},
                     {"empty", Tensor({0, 4}, DType::f32)},
                     {"scalar", Tensor(Shape(), DType::u8)}},
                    {{"key", "text"}});
  seeds.write("safetensors", "nothing.safetensors", std::string("\2\0\0\0\0\0\0\0{}", 10));
}

}  // namespace
}  // namespace tandem::fuzz

int main(int argc, char** argv) {
  using namespace tandem::fuzz;
  if (argc != 2) return std::fprintf(stderr, "usage: make_seeds FOLDER\n"), 2;
  const Seeds seeds(argv[1]);
  write_models(seeds);
  write_checkpoints(seeds);
  write_token_file(seeds);
  write_subwords(seeds);
  write_authors_weights(seeds);
  write_safetensors_seeds(seeds);
}
