// LSTM models and stacks of recurrent layers: parameter counts, initial values, variational dropout, errors.
#include "tandem/models/lstm/lstm.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tandem/core/array.h"
#include "tandem/models/registry.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/parameter_count.h"
#include "tests/support/small_models.h"

namespace tandem::testing {
namespace {

constexpr int64_t kWidth = 16, kSteps = 5, kBatch = 4;

// Returns which outputs of the last layer are 0 after dropout: the model's logits are those outputs.
std::vector<bool> dropped_outputs(bool variational, Device device) {
  LstmConfig config;
  config.vocabulary = config.d = kWidth;
  config.layers = 1;
  config.output_dropout = 0.5;
  config.variational = variational;
  config.device = device;
  const auto model = make_lstm(config, 1);
  for (const NamedTensor& parameter : model->parameters())
    if (parameter.name == "output.weight") {
      std::vector<float> identity(kWidth * kWidth, 0.0f);
      for (int64_t i = 0; i < kWidth; ++i) identity[i * kWidth + i] = 1;
      copy(parameter.value, tensor_of<float>({kWidth, kWidth}, identity));
    }
  State state;
  const Tensor tokens = zeros({kSteps, kBatch}, DType::i32, device);
  std::vector<bool> dropped;
  for (const float y : model->logits(tokens, state, {.training = true, .seed = 3}).to_vector<float>())
    dropped.push_back(y == 0);
  return dropped;
}

}  // namespace

MODEL_CASES(lstm) {
  add_small_model(R"({"model":"lstm","d":32,"layers":2})");
  add_small_model(R"({"model":"lstm","d":48,"d_embedding":40,"layers":2,"tied":true,
                      "variational":true})");
  // Adaptive input and output.
  add_small_model(R"({"model":"lstm","d":40,"layers":1,"cutoffs":[2,6],"band_divisor":2,
                      "adaptive":"pytorch"})");
}

TEST_CASE("lstm: exact parameter counts") {
  CHECK(parameter_count("lstm", "enwik8", 205) == 47270045);
}

TEST_CASE("lstm: weights and biases start within 1 / sqrt(d), rows at both ends within 0.1") {
  LstmConfig config;
  config.vocabulary = 50;
  config.d = 64;
  for (const NamedTensor& parameter : make_lstm(config, 1)->parameters()) {
    CAPTURE(parameter.name);
    const bool cell = parameter.name.find("cell") != std::string::npos;
    double largest = 0;
    for (const float w : parameter.value.to_vector<float>())
      largest = std::max(largest, std::abs(static_cast<double>(w)));
    const double bound = parameter.name == "output.bias" ? 0 : cell ? 1 / 8.0 : 0.1;
    CHECK(largest <= bound + 1e-7);
    CHECK(largest >= 0.95 * bound);
  }
}

TEST_CASE("lstm: variational dropout has one mask for all time steps, ordinary dropout one for each") {
  for (const Device device : test_devices())
    for (const bool variational : {true, false}) {
      const std::vector<bool> dropped = dropped_outputs(variational, device);
      const size_t row = kBatch * kWidth;
      const auto count = std::count(dropped.begin(), dropped.end(), true);
      CHECK(count > static_cast<int64_t>(dropped.size()) / 4);
      CHECK(count < static_cast<int64_t>(dropped.size()) * 3 / 4);
      bool same = true;
      for (size_t i = row; i < dropped.size(); ++i) same = same && dropped[i] == dropped[i % row];
      CHECK(same == variational);
    }
}

TEST_CASE("lstm: errors") {
  const auto error = [](const std::string& fields) {
    return error_of([&] { make_model(R"({"model":"lstm","vocabulary":5,)" + fields + "}", 1); });
  };
  CHECK(error(R"("layers":0)") ==
        "lstm: sizes must be positive: vocabulary 5, d 512, layers 0, d of the embedding 0");
  CHECK(error(R"("dropout":1.5)") == "lstm: dropout 1.5 must be in [0, 1)");
  CHECK(error(R"("window":2)") == "lstm: unknown configuration field window");
}

}  // namespace tandem::testing
