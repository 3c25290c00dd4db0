// Sizes and recipes of SHA-RNN and SHAQ. Sources: arXiv 1911.11423 and the author's code (Smerity/sha-rnn).
#include "tandem/models/presets.h"

#include "tandem/models/registry.h"
#include "tandem/models/sha_rnn/sha_rnn.h"

namespace tandem {
namespace {

constexpr int64_t kTrainBytes = 90000000;  // of enwik8

// 32 epochs at a constant rate. The author's segments vary in length at random, and about five more epochs
// follow at half the rate.
Preset enwik8(const char* name, int64_t window, int64_t attention_blocks, int64_t batch_size,
              const char* about) {
  ShaRnnConfig config;
  config.window = window;
  config.attention_blocks = attention_blocks;
  config.dropout = 0.1;
  const Recipe recipe = {
      .batch_size = batch_size,
      .unroll = 1024,
      .eval_window = 1024,
      .eval_memory = config.max_positions - 1,  // as many keys as the author's last row sees
      .eval_batch_size = 16,
      .optimizer = "lamb",
      .schedule = "constant",
      .lr = 2e-3,
      .warmup = 800,
      .steps = 32 * kTrainBytes / (1024 * batch_size),
      .weight_decay = 1.2e-6,
      .clip = 0.25};
  return {name, config.text(), recipe, about};
}

Preset laptop(int64_t window, double lr, int64_t steps) {
  ShaRnnConfig config;
  config.window = window;
  config.d = 256;
  config.d_boom = 1024;
  config.layers = 3;
  config.max_positions = 256;
  Recipe recipe = laptop_recipe(lr, steps);
  recipe.eval_memory = config.max_positions - 1;
  return {"laptop", config.text(), recipe, "ours: what five minutes on two cores can buy"};
}

std::vector<Preset> sha_rnn_presets() {
  return {laptop(0, 6e-3, 12000),
          enwik8("enwik8", 0, 1, 16, "54M, attention in one block: 1.076 bpc on enwik8"),
          enwik8("enwik8-full", 0, 4, 8, "63M, attention in every block: 1.068 bpc on enwik8")};
}

std::vector<Preset> shaq_presets() {
  return {laptop(2, 3e-3, 15000), enwik8("enwik8", 2, 1, 16, "45M, our reconstruction; recipe of SHA-RNN")};
}

}  // namespace
}  // namespace tandem

TANDEM_MODELS(sha_rnn) {
  register_model("sha-rnn", make_sha_rnn, sha_rnn_presets);
  register_model("shaq", make_sha_rnn, shaq_presets);
}
