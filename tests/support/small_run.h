// A training run of milliseconds: a random text of six letters, SRU++ of two layers.
#pragma once
#include "tandem/core/random.h"
#include "tandem/models/srupp/srupp.h"
#include "tandem/models/training/trainer.h"

namespace tandem::testing {

inline std::vector<uint8_t> random_text(size_t bytes, uint64_t letters = 6) {
  Random random(3);
  std::vector<uint8_t> all;
  for (size_t i = 0; i < bytes; ++i) all.push_back(static_cast<uint8_t>('a' + random.below(letters)));
  return all;
}

inline const std::vector<uint8_t>& sample_text() {
  static const std::vector<uint8_t> bytes = random_text(700);
  return bytes;
}

inline RunConfig small_run(int64_t d_projected = 8) {
  SruppConfig model;
  model.vocabulary = 6;
  model.d = 32;
  model.d_projected = d_projected;
  model.layers = 2;
  model.dropout = 0.1;
  model.attention_dropout = 0.1;
  RunConfig config;
  config.model_config = model.text();
  config.recipe = {.batch_size = 3,
                   .unroll = 16,
                   .eval_window = 16,
                   .eval_batch_size = 1,
                   .lr = 3e-3,
                   .warmup = 4,
                   .steps = 40,
                   .eval_every = 10};
  return config;
}

// Returns a run with that optimizer. For Muon the matrices of its layers are wide enough to be moved by it.
inline RunConfig run_by(const std::string& optimizer) {
  RunConfig config = small_run(optimizer == "muon" ? 16 : 8);
  config.recipe.optimizer = optimizer;
  return config;
}

inline Trainer make_trainer(const RunConfig& config, Device device = Device::cpu()) {
  const Vocabulary vocabulary = Vocabulary::of(sample_text());
  return Trainer(config, Tokens(sample_text(), vocabulary), vocabulary, device);
}

inline std::vector<double> losses(Trainer& trainer, int64_t steps) {
  std::vector<double> all;
  for (int64_t i = 0; i < steps; ++i) all.push_back(trainer.step().loss);
  return all;
}

}  // namespace tandem::testing
