// SHA-RNN and SHAQ: parameter counts, which blocks attend, length of the memory, errors. The comparison
// with the author's code is in sha_rnn_golden_test.cpp.
#include "tandem/models/sha_rnn/sha_rnn.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tandem/core/array.h"
#include "tandem/models/presets.h"
#include "tandem/models/registry.h"
#include "tests/support/errors.h"
#include "tests/support/small_models.h"

namespace tandem::testing {
namespace {

std::unique_ptr<LanguageModel> enwik8_model(const std::string& model, const std::string& name,
                                            const nlohmann::json& changes = {}) {
  nlohmann::json config = nlohmann::json::parse(preset(model, name).model_config);
  config["vocabulary"] = 205;
  if (!changes.is_null()) config.update(changes);
  return make_model(config.dump(), 1);
}

int64_t count(const std::string& model, const std::string& name, const nlohmann::json& changes = {}) {
  return enwik8_model(model, name, changes)->parameter_count();
}

ShaRnnConfig small() {
  ShaRnnConfig config;
  config.vocabulary = 5;
  config.d = 8;
  config.d_boom = 20;
  config.layers = 3;
  return config;
}

}  // namespace

MODEL_CASES(sha_rnn) {
  add_small_model(R"({"model":"sha-rnn","d":12,"d_boom":30,"layers":3})");
  add_small_model(R"({"model":"sha-rnn","d":12,"d_boom":24,"layers":2,"attention_blocks":2,
                      "tied":false,"collapsed_value_gate":true})");
  add_small_model(R"({"model":"shaq","d":12,"d_boom":24,"layers":2})");
  add_small_model(R"({"model":"shaq","d":12,"d_boom":24,"layers":2,"window":1,"attention_blocks":0})");
}

TEST_CASE("sha-rnn: exact parameter counts, less what the author's code has and never uses") {
  constexpr int64_t kNorm = 2 * 1024, kBlocks = 4;
  // Every block has an unused output norm; blocks without attention the two norms of attention; blocks with
  // attention three vectors for q, k and v and a gate.
  const auto unused = [](int64_t attending) {
    return kBlocks * kNorm + (kBlocks - attending) * 2 * kNorm + attending * 4 * 1024;
  };
  CHECK(count("sha-rnn", "enwik8") == 53798093 - unused(1));
  CHECK(count("sha-rnn", "enwik8-full") == 63272141 - unused(4));
  CHECK(count("sha-rnn", "enwik8", {{"collapsed_value_gate", true}}) ==
        count("sha-rnn", "enwik8") - 2 * 1024 * 1025);
  // SHAQ's QRNN has 6,294,528 parameters per block, or 3,148,800 with window 1; the LSTM has 8,396,800.
  CHECK(count("shaq", "enwik8") == count("sha-rnn", "enwik8") - kBlocks * (8396800 - 6294528));
  CHECK(count("shaq", "enwik8", {{"window", 1}}) ==
        count("sha-rnn", "enwik8") - kBlocks * (8396800 - 3148800));
}

TEST_CASE("sha-rnn: attention is in the blocks before the last one, or in all") {
  const auto attending = [](int64_t blocks) {
    ShaRnnConfig config = small();
    config.layers = 4;
    config.attention_blocks = blocks;
    std::string which;
    for (int64_t i = 0; i < 4; ++i)
      if (config.attends(i)) which += std::to_string(i);
    return which;
  };
  CHECK(attending(0).empty());
  CHECK(attending(1) == "2");
  CHECK(attending(2) == "12");
  CHECK(attending(4) == "0123");
}

TEST_CASE("sha-rnn: memory grows to max_positions, or has as many rows as the context says") {
  ShaRnnConfig config = small();
  config.max_positions = 10;
  const auto model = make_sha_rnn(config, 1);
  const Tensor tokens = zeros({4, 2}, DType::i32);
  const auto rows_after = [&](int segments, const ForwardOptions& pass) {
    State state;
    for (int i = 0; i < segments; ++i) model->logits(tokens, state, pass);
    for (const NamedTensor& part : state.parts)
      if (part.name == "memory.1") return part.value.size(0);
    return int64_t{0};
  };
  CHECK(rows_after(1, {}) == 4);
  CHECK(rows_after(2, {}) == 8);
  CHECK(rows_after(3, {}) == 10);
  CHECK(rows_after(4, {}) == 10);
  CHECK(rows_after(4, {.context = {.memory = 3}}) == 3);
  CHECK(rows_after(4, {.context = {.memory = 14}}) == 14);
  CHECK(rows_after(4, {.context = {.memory = 0}}) == 0);
}

TEST_CASE("sha-rnn: errors") {
  const auto error = [](const std::string& model, const std::string& fields) {
    return error_of(
        [&] { make_model(R"({"model":")" + model + R"(","vocabulary":5,"d":8,)" + fields + "}", 1); });
  };
  CHECK(error("sha-rnn", R"("layers":0)") ==
        "sha-rnn: sizes must be positive: vocabulary 5, d 8, layers 0, positions 5000");
  CHECK(error("shaq", R"("max_positions":0)") ==
        "shaq: sizes must be positive: vocabulary 5, d 8, layers 4, positions 0");
  CHECK(error("sha-rnn", R"("d_boom":7)") == "sha-rnn: the boom's width 7 must be d, 8, or more");
  CHECK(error("sha-rnn", R"("attention_blocks":5)") == "sha-rnn: attention in 5 blocks; the model has 4");
  CHECK(error("sha-rnn", R"("dropout":1.0)") == "sha-rnn: dropout 1 must be in [0, 1)");
  CHECK(error("sha-rnn", R"("window":1)") == "sha-rnn: unknown configuration field window");
  CHECK(error("shaq", R"("window":0)") == "shaq: window 0 must be 1 or 2");
  CHECK(error("shaq", R"("window":3)") == "qrnn: window 3 must be 1 or 2");
}

}  // namespace tandem::testing
