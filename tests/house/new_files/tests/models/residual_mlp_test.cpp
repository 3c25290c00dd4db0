// residual-mlp: registered by its own file, it is found by name, has its parameters and learns.
#include <doctest/doctest.h>

#include <cmath>

#include "autograd/tape.h"
#include "models/registry.h"
#include "models/training/optimizer.h"

namespace tandem::testing {

TEST_CASE("residual-mlp: learns which token follows which") {
  constexpr int64_t kVocabulary = 11, kD = 24, kLayers = 2;
  const auto model = make_model(R"({"model":"residual-mlp","d":24,"layers":2,"vocabulary":11})", 1);
  CHECK(model->parameter_count() == 2 * kVocabulary * kD + kVocabulary + kLayers * 2 * kD * kD);

  std::vector<int32_t> inputs, targets;
  for (int32_t i = 0; i < kVocabulary; ++i) {
    inputs.push_back(i);
    targets.push_back(3 * i % kVocabulary);
  }
  const Tensor x = tensor_of<int32_t>({kVocabulary, 1}, inputs),
               y = tensor_of<int32_t>({kVocabulary, 1}, targets);
  Optimizer optimizer(model->parameters(), {.kind = "adamw", .weight_decay = 0});
  double nats = 0;
  for (int step = 0; step < 100; ++step) {
    State state;
    Tape tape;
    const Tensor loss = model->loss(x, y, state, {.training = true});
    nats = loss.item();
    tape.backward(loss);
    optimizer.step(0.01);
  }
  CHECK(nats < 0.1);  // log 11 = 2.4 at first
}

}  // namespace tandem::testing
