// The checks that every language model passes (tests/testing/check_model.h), over the table of
// tests/support/small_models.h: a model's own test file adds its configurations there with MODEL_CASES.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "tandem/models/config_fields.h"
#include "tandem/models/presets.h"
#include "tandem/models/registry.h"
#include "tandem/ops/gemm/precision.h"
#include "tandem/testing/check_model.h"
#include "tests/support/run_op_case.h"
#include "tests/support/small_models.h"

namespace tandem::testing {
namespace {

template <class F>
void check_each_model(const F& check) {
  for (const std::string& config : small_models()) expect(check(config));
}

}  // namespace

TEST_CASE("language models: every registered model has small configurations here, and a preset laptop") {
  std::set<std::string> tested;
  for (const std::string& text : small_models()) tested.insert(model_of_config(text));
  for (const std::string& name : model_names()) {
    CHECK_MESSAGE(tested.count(name) == 1, "no small configuration of the model ", name,
                  ": add MODEL_CASES to its test file (tests/support/small_models.h)");
    CHECK_MESSAGE(has_preset(name, "laptop"), "the model ", name, " has no preset laptop");
  }
  CHECK(tested.size() == model_names().size());
}

TEST_CASE("language models: the configuration survives the way through text") {
  check_each_model(check_model_config);
}

TEST_CASE("language models: one batch can be learnt by heart") {
  check_each_model(check_model_overfits);
}

TEST_CASE("language models: segments with a long memory are one long pass") {
  check_each_model(check_model_segments);
}

TEST_CASE("language models: generation gives the logits of evaluation, while memory fills and after") {
  check_each_model([](const std::string& config) { return check_model_decoder(config); });
}

TEST_CASE("language models: texts that join a batch and leave it get the logits that each has alone") {
  check_each_model([](const std::string& config) { return check_model_rows(config); });
}

TEST_CASE("language models: in a small batch these logits are the bits that each text has alone") {
  // Left out are clusters of an adaptive softmax and block-diagonal weights (griffin, rg-lru): oneDNN multiplies these, in an
  // order of sums that depends on the number of rows.
  int64_t checked = 0;
  for (const std::string& config : small_models()) {
    const auto has = [&config](const char* part) { return config.find(part) != std::string::npos; };
    if (has("cutoffs") || has("griffin") || has("rg-lru")) continue;
    expect(check_model_rows_exactly(config));
    ++checked;
  }
  CHECK(checked > 10);
}

TEST_CASE("language models: recomputation gives the same loss and gradients, with dropout too") {
  check_each_model(check_model_recompute);
}

TEST_CASE("language models: dropout changes training passes only, and by its key") {
  std::map<std::string, bool> matters;
  check_each_model([&matters](const std::string& config) { return check_model_dropout(config, matters); });
  for (const auto& entry : matters) {
    CAPTURE(entry.first);
    CHECK(entry.second);
  }
}

TEST_CASE("language models: in bf16 losses, gradients and generation are near those in f32") {
  check_each_model([](const std::string& config) { return check_model_bf16(config); });
}

TEST_CASE("language models: a text goes on from a copy of its state") {
  check_each_model(check_model_state);
}

TEST_CASE("language models: a compacted state gives the next segment the same bits") {
  int64_t compacted = 0;
  check_each_model(
      [&compacted](const std::string& config) { return check_model_compact_state(config, compacted); });
  CHECK((compacted > 0) == cpu_has_bf16());
}

TEST_CASE("language models: every parameter has a gradient, the same on every device") {
  check_each_model([](const std::string& config) { return check_model_gradients(config); });
}

TEST_CASE(
    "language models: every model resumes bit for bit, with its state, its dropout and each optimizer's moments") {
  check_each_model([](const std::string& config) { return check_model_resume(config); });
}

}  // namespace tandem::testing
