// residual-lstm: a configuration for the checks of all models, and its parameters by count.
#include <doctest/doctest.h>

#include "tandem/models/registry.h"
#include "tests/support/small_models.h"

namespace tandem::testing {

MODEL_CASES(residual_lstm) {
  add_small_model(R"({"model":"residual-lstm","d":32,"layers":2})");
}

TEST_CASE("residual-lstm: exact parameter count") {
  constexpr int64_t kVocabulary = 11, kD = 32, kLayers = 2;
  constexpr int64_t kLstm = 4 * kD * (2 * kD + 2), kOutput = kVocabulary * kD + kVocabulary;
  const auto model = make_model(R"({"model":"residual-lstm","d":32,"layers":2,"vocabulary":11})", 1);
  CHECK(model->parameter_count() == kVocabulary * kD + kLayers * (kLstm + kD * kD) + kOutput);
}

}  // namespace tandem::testing
