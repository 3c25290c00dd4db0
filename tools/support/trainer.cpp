// The training step, and saving and restoring all it depends on.
#include "tools/support/trainer.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/array.h"
#include "core/check.h"
#include "models/registry.h"

namespace tandem {
namespace {

OptimizerConfig optimizer_config(const Recipe& recipe) {
  OptimizerConfig config;
  config.kind = recipe.optimizer;
  config.weight_decay = recipe.weight_decay;
  config.clip = recipe.clip;
  return config;
}

ScheduleConfig schedule_config(const Recipe& recipe) {
  ScheduleConfig config;
  config.lr = recipe.lr;
  config.warmup = recipe.warmup;
  config.steps = recipe.steps;
  return config;
}

}  // namespace

Trainer::Trainer(const RunConfig& config, std::span<const uint8_t> train, const Vocabulary& vocabulary)
    : config_(config),
      vocabulary_(vocabulary),
      model_(make_model(config.model_config, config.seed)),
      optimizer_(model_->parameters(), optimizer_config(config.recipe)),
      schedule_(schedule_config(config.recipe)),
      stream_(train, vocabulary, config.recipe.batch_size, config.recipe.unroll) {
  CHECK(model_->vocabulary_size() == vocabulary.size(),
        "trainer: the model knows {} symbols, the text has {}", model_->vocabulary_size(), vocabulary.size());
  CHECK(config.recipe.accumulate >= 1, "trainer: cannot accumulate over {} segments; at least 1",
        config.recipe.accumulate);
}

MatmulPrecision Trainer::precision() const {
  return config_.precision == "bf16" ? MatmulPrecision::bf16 : MatmulPrecision::f32;
}

Trainer::Batch Trainer::next_batch() {
  stream_.next(inputs_, targets_);
  const Shape shape{config_.recipe.unroll, config_.recipe.batch_size};
  return {tensor_of<int32_t>(shape, inputs_).to(model_->device()),
          tensor_of<int32_t>(shape, targets_).to(model_->device()), stream_.starts_epoch()};
}

double Trainer::segment(const Batch& batch, State& state, uint32_t micro_step, bool check_nan) {
  if (batch.starts_epoch) state = State();
  const Pass pass{.training = true, .seed = config_.seed, .step = micro_step, .recompute = config_.recompute};
  Tape tape({.check_nan = check_nan, .profile = profile_});
  const Tensor loss = model_->loss(batch.inputs, batch.targets, state, pass);
  const double value = loss.item();
  if (!std::isfinite(value)) return value;
  const double share = 1.0 / static_cast<double>(config_.recipe.accumulate);
  tape.backward({loss}, {full(loss.shape(), share, loss.dtype(), loss.device())});
  if (profile_) last_profile_ = tape.times();
  return value;
}

StepRecord Trainer::step() {
  const PrecisionScope scope(precision());
  StepRecord record;
  record.step = progress_.step + 1;
  record.lr = schedule_.lr(progress_.step);

  const uint32_t first_micro_step = progress_.micro_step;
  State state = state_;
  std::vector<Batch> batches;
  for (int64_t i = 0; i < config_.recipe.accumulate; ++i) {
    batches.push_back(next_batch());
    record.tokens += batches.back().inputs.numel();
    record.loss += segment(batches.back(), state, progress_.micro_step++, check_nan_);
  }
  record.loss /= static_cast<double>(config_.recipe.accumulate);
  record.gradient_norm = std::isfinite(record.loss) ? optimizer_.gradient_norm() : record.loss;
  record.skipped = !std::isfinite(record.gradient_norm);
  ++progress_.step;
  if (record.skipped) {
    optimizer_.zero_grad();
    ++progress_.skipped;
    if (++progress_.skipped_in_row >= config_.max_skipped)
      fail_not_finite(batches, first_micro_step, record.loss, record.gradient_norm);
    return record;
  }
  progress_.skipped_in_row = 0;
  optimizer_.step(record.lr, record.gradient_norm);
  state_ = std::move(state);
  return record;
}

void Trainer::fail_not_finite(const std::vector<Batch>& batches, uint32_t first_micro_step, double loss,
                              double norm) {
  std::string where = "every operator's output and gradient is finite when computed again";
  try {
    for (const NamedTensor& parameter : model_->parameters())
      CHECK(all_finite(parameter.value), "parameter {} is not finite before the step", parameter.name);
    State state = state_;
    for (size_t i = 0; i < batches.size(); ++i)
      segment(batches[i], state, first_micro_step + static_cast<uint32_t>(i), true);
  } catch (const Error& error) {
    where = error.what();
  }
  optimizer_.zero_grad();
  detail::fail(
      "training stopped at step {}: {} steps in a row were not finite (loss {}, gradient norm {}, lr {}): "
      "{}; a lower "
      "--lr or a longer --warmup may help",
      progress_.step, progress_.skipped_in_row, loss, norm, schedule_.lr(progress_.step - 1), where);
}

Checkpoint Trainer::weights() const {
  Checkpoint checkpoint;
  checkpoint.model_config = model_->config();
  checkpoint.run_config = config_.text();
  checkpoint.vocabulary = vocabulary_;
  checkpoint.parameters = model_->parameters();
  return checkpoint;
}

Checkpoint Trainer::checkpoint() const {
  Checkpoint checkpoint = weights();
  checkpoint.optimizer = optimizer_.state();
  checkpoint.state = state_.parts;
  const StreamPosition position = stream_.position();
  checkpoint.progress = nlohmann::json{
      {"step", progress_.step},
      {"skipped", progress_.skipped},
      {"skipped_in_row", progress_.skipped_in_row},
      {"micro_step", progress_.micro_step},
      {"epoch", position.epoch},
      {"segment", position.segment},
      {"best_dev_bpc", counters.best_dev_bpc},
      {"best_step",
       counters.best_step}}.dump();
  return checkpoint;
}

void Trainer::restore(const Checkpoint& checkpoint) {
  CHECK(checkpoint.resumable(),
        "resume: the checkpoint holds weights only; resume from the run's last.safetensors");
  CHECK(checkpoint.model_config == model_->config(),
        "resume: the checkpoint is of the model {}, this run's is {}", checkpoint.model_config,
        model_->config());
  CHECK(checkpoint.vocabulary == vocabulary_,
        "resume: the checkpoint's vocabulary of {} bytes differs from the text's {}",
        checkpoint.vocabulary.size(), vocabulary_.size());
  try {
    const nlohmann::json progress = nlohmann::json::parse(checkpoint.progress);
    progress_.step = progress.at("step");
    progress_.skipped = progress.at("skipped");
    progress_.skipped_in_row = progress.at("skipped_in_row");
    progress_.micro_step = progress.at("micro_step");
    stream_.set_position({progress.at("epoch"), progress.at("segment")});
    counters = {progress.at("best_dev_bpc"), progress.at("best_step")};
  } catch (const nlohmann::json::exception& error) {
    detail::fail("resume: the checkpoint's progress cannot be read: {}: {}", error.what(),
                 checkpoint.progress);
  }
  model_->load(checkpoint.parameters);
  optimizer_.load_state(checkpoint.optimizer);
  state_.parts = checkpoint.state;
  for (NamedTensor& part : state_.parts) part.value = part.value.to(model_->device());
}

}  // namespace tandem
