// The training step, its records, and what a checkpoint saves and restores.
#include "tandem/models/training/trainer.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/json.h"
#include "tandem/cuda/runtime/batch_copy.h"
#include "tandem/models/registry.h"
#include "tandem/ops/arithmetic.h"

namespace tandem {
namespace {

OptimizerConfig optimizer_config(const Recipe& recipe) {
  OptimizerConfig config;
  config.kind = recipe.optimizer;
  config.weight_decay = recipe.weight_decay;
  config.decay = recipe.decay;
  config.clip = recipe.clip;
  return config;
}

bool same_layout(const State& a, const State& b) {
  return std::equal(a.parts.begin(), a.parts.end(), b.parts.begin(), b.parts.end(),
                    [](const NamedTensor& x, const NamedTensor& y) {
                      return x.name == y.name && x.value.shape() == y.value.shape() &&
                             x.value.dtype() == y.value.dtype();
                    });
}

}  // namespace

ScheduleConfig schedule_config(const Recipe& recipe) {
  return {.kind = recipe.schedule,
          .lr = recipe.lr,
          .floor = recipe.lr_floor,
          .warmup = recipe.warmup,
          .steps = recipe.steps,
          .width = recipe.noam_width,
          .cycle = recipe.cycle,
          .cycle_growth = recipe.cycle_growth,
          .cycle_shrink = recipe.cycle_shrink};
}

Trainer::Trainer(const RunConfig& config, const Tokens& train, const Vocabulary& vocabulary, Device device)
    : config_(config),
      vocabulary_(vocabulary),
      model_(make_model(config.model_config, config.seed, device)),
      optimizer_(model_->parameters(), optimizer_config(config.recipe)),
      schedule_(schedule_config(config.recipe)),
      stream_(train, config.recipe.batch_size, config.recipe.unroll),
      loss_({1}, DType::f64, device),
      lr_({1}, DType::f64, device),
      outcome_({StepOutcome::kSize}, DType::f64, device),
      history_({kHistory, StepOutcome::kSize}, DType::f64, device) {
  TANDEM_CHECK(model_->vocabulary_size() == vocabulary.size(),
               "trainer: the model knows {} symbols, the text has {}", model_->vocabulary_size(),
               vocabulary.size());
  TANDEM_CHECK(config.recipe.accumulate >= 1, "trainer: cannot accumulate over {} segments; at least 1",
               config.recipe.accumulate);
  const PrecisionScope allowed(precision(), device);
  const Shape shape{config.recipe.unroll, config.recipe.batch_size};
  for (int64_t i = 0; i < config.recipe.accumulate; ++i)
    batches_.push_back({Tensor(shape, DType::i32, device), Tensor(shape, DType::i32, device)});
  if constexpr (kWithCuda)
    if (device.is_cuda()) batch_copy_ = std::make_shared<cuda::BatchCopy>(shape.numel());
}

MatmulPrecision Trainer::precision() const {
  return precision_named(config_.precision);
}

void Trainer::load_batches() {
  const auto send = [this](const Tensor& to, const std::vector<int32_t>& ids) {
    if constexpr (kWithCuda)
      if (batch_copy_) return batch_copy_->send(to, ids);
    std::copy(ids.begin(), ids.end(), to.data<int32_t>());
  };
  for (Batch& batch : batches_) {
    stream_.next(inputs_, targets_);
    batch.starts_epoch = stream_.starts_epoch();
    send(batch.inputs, inputs_);
    send(batch.targets, targets_);
  }
}

void Trainer::run_segment(const Batch& batch, State& state, uint32_t micro_step, bool check_nan) {
  if (batch.starts_epoch) state = State();
  const ForwardOptions options{.training = true,
                               .seed = config_.seed,
                               .step = micro_step,
                               .context = {.memory = config_.recipe.memory},
                               .recompute = config_.recompute};
  std::vector<LeafUse> leaves;
  Tape tape({.check_nan = check_nan, .profile = profile_, .leaves = steps_to_check_ > 0 ? &leaves : nullptr});
  const Tensor loss = model_->loss(batch.inputs, batch.targets, state, options);
  const double share = 1.0 / static_cast<double>(config_.recipe.accumulate);
  add_in_place(loss_, scale(loss.detach().to(DType::f64), share).view_as({1}));
  tape.backward({loss}, {full(loss.shape(), share, loss.dtype(), loss.device())});
  check_leaves(leaves);
  if (profile_) last_profile_ = tape.times();
}

void Trainer::check_leaves(const std::vector<LeafUse>& uses) const {
  if (uses.empty()) return;
  std::set<const GradNode*> known;
  for (const NamedTensor& parameter : model_->parameters()) known.insert(parameter.value.node().get());
  for (const LeafUse& use : uses)
    TANDEM_CHECK(
        known.contains(use.leaf.get()),
        "trainer: the loss depends on a leaf {}, used by {}, which is no parameter of the model, so that it would "
        "never be updated; register it with add_parameter(), its module with add_child(), or detach() it",
        use.shape.str(), use.op);
}

void Trainer::compute(uint32_t first_micro_step) {
  fill(loss_, 0);
  State state = state_;
  for (size_t i = 0; i < batches_.size(); ++i)
    run_segment(batches_[i], state, first_micro_step + static_cast<uint32_t>(i), check_nan_);
  optimizer_.step(lr_, loss_, outcome_);
  keep_state(std::move(state));
}

// Keeps the state of a step that was finite; otherwise the state before it stays. On a GPU the state has memory
// of its own, into which the device copies if its own outcome says that the step was finite.
void Trainer::keep_state(State next) {
  const Tensor updated = StepOutcome::updated_flag(outcome_);
  if (device().is_cuda() && same_layout(state_, next)) {
    for (size_t i = 0; i < next.parts.size(); ++i)
      copy_if(state_.parts[i].value, next.parts[i].value, updated);
    return;
  }
  if (updated.item() == 0) return;
  compact_state(next);
  state_ = std::move(next);
  if (!device().is_cuda()) return;
  for (NamedTensor& part : state_.parts) part.value = part.value.clone();
  graph_step_.reset();
}

// A step that begins an epoch has no state to start from, so its shapes differ.
bool Trainer::is_regular_step() const {
  return !check_nan_ && !profile_ && !state_.empty() &&
         std::none_of(batches_.begin(), batches_.end(),
                      [](const Batch& batch) { return batch.starts_epoch; });
}

void Trainer::advance() {
  const PrecisionScope scope(precision(), device());
  if (static_cast<int64_t>(unread_.size()) == kHistory) read_history();
  StepRecord record;
  record.step = progress_.step + 1;
  record.lr = schedule_.lr(progress_.step);
  for (const Batch& batch : batches_) record.tokens += batch.inputs.numel();

  const uint32_t first_micro_step = progress_.micro_step;
  load_batches();
  fill(lr_, record.lr);
  if (device().is_cuda() && is_regular_step())
    graph_step_.run(first_micro_step, model_->parameters(),
                    [this](uint32_t micro_step) { compute(micro_step); });
  else
    compute(first_micro_step);
  if (steps_to_check_ > 0) --steps_to_check_;
  progress_.micro_step += static_cast<uint32_t>(batches_.size());
  ++progress_.step;
  const auto row = static_cast<int64_t>(unread_.size());
  copy(history_.view_rows(row, row + 1).view_as(outcome_.shape()), outcome_);
  unread_.push_back(record);
}

void Trainer::read_history() {
  if (unread_.empty()) return;
  const std::vector<double> rows =
      history_.view_rows(0, static_cast<int64_t>(unread_.size())).to_vector<double>();
  for (size_t i = 0; i < unread_.size(); ++i) {
    StepRecord& record = unread_[i];
    const auto outcome = StepOutcome::read(std::span(rows).subspan(i * StepOutcome::kSize));
    record.loss = outcome.loss;
    record.gradient_norm = outcome.gradient_norm;
    record.skipped = !outcome.updated;
    progress_.skipped += record.skipped;
    progress_.skipped_in_row = record.skipped ? progress_.skipped_in_row + 1 : 0;
    read_.push_back(record);
    if (progress_.skipped_in_row < config_.max_skipped) continue;
    const StepRecord failed = record;
    unread_.clear();
    fail_not_finite(failed);
  }
  unread_.clear();
}

std::vector<StepRecord> Trainer::collect() {
  read_history();
  return std::exchange(read_, {});
}

StepRecord Trainer::step() {
  advance();
  return collect().back();
}

void Trainer::fail_not_finite(const StepRecord& record) {
  const PrecisionScope scope(precision(), device());
  std::string where = "every operator's output and gradient is finite when computed again";
  try {
    for (const NamedTensor& parameter : model_->parameters())
      TANDEM_CHECK(all_finite(parameter.value), "parameter {} is not finite before the step", parameter.name);
    State state = state_;
    const uint32_t first_micro_step = progress_.micro_step - static_cast<uint32_t>(batches_.size());
    for (size_t i = 0; i < batches_.size(); ++i)
      run_segment(batches_[i], state, first_micro_step + static_cast<uint32_t>(i), true);
  } catch (const Error& error) {
    where = error.what();
  }
  optimizer_.zero_grad();
  detail::fail(
      "training stopped at step {}: {} steps in a row were not finite (loss {}, gradient norm {}, lr {}): {}; a lower "
      "lr or a longer warmup may help",
      record.step, progress_.skipped_in_row, record.loss, record.gradient_norm, record.lr, where);
}

Checkpoint Trainer::weights() const {
  Checkpoint checkpoint;
  checkpoint.model_config = model_->config();
  checkpoint.run_config = config_.text();
  checkpoint.vocabulary = vocabulary_;
  checkpoint.parameters = model_->parameters();
  checkpoint.masks = masks_;
  return checkpoint;
}

Checkpoint Trainer::checkpoint() const {
  TANDEM_CHECK(unread_.empty(), "checkpoint: {} steps are not collected yet", unread_.size());
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
      {"best_dev_nats", counters.best_dev_nats},
      {"best_step",
       counters.best_step}}.dump();
  return checkpoint;
}

void Trainer::restore(const Checkpoint& checkpoint) {
  TANDEM_CHECK(checkpoint.resumable(),
               "resume: the checkpoint holds weights only; resume from the run's last.safetensors");
  // The text of an earlier version lacks the fields that models have got since; this run's may be that text, too.
  TANDEM_CHECK(checkpoint.model_config == model_->config() || checkpoint.model_config == config_.model_config,
               "resume: the checkpoint is of the model {}, this run's is {}", checkpoint.model_config,
               model_->config());
  TANDEM_CHECK(checkpoint.vocabulary == vocabulary_,
               "resume: the checkpoint's vocabulary of {} symbols differs from the text's {}",
               checkpoint.vocabulary.size(), vocabulary_.size());
  const char* const kWhat = "resume: the checkpoint's progress";
  const nlohmann::json progress = parse_json(checkpoint.progress, kWhat);
  const auto count = [&progress, kWhat](const char* name) {
    const auto value = json_field<int64_t>(progress, name, kWhat);
    TANDEM_CHECK(value >= 0, "{}: {} is {}; it must not be negative", kWhat, name, value);
    return value;
  };
  progress_.step = count("step");
  progress_.skipped = count("skipped");
  progress_.skipped_in_row = count("skipped_in_row");
  const int64_t micro_step = count("micro_step");
  TANDEM_CHECK(micro_step <= std::numeric_limits<uint32_t>::max(), "{}: micro_step is {}, which is too large",
               kWhat, micro_step);
  progress_.micro_step = static_cast<uint32_t>(micro_step);
  stream_.set_position({count("epoch"), count("segment")});
  counters = {json_field<double>(progress, "best_dev_nats", kWhat), count("best_step")};
  graph_step_.restart();
  model_->load(checkpoint.parameters);
  optimizer_.load_state(checkpoint.optimizer);
  optimizer_.set_pruning_masks(checkpoint.masks);
  masks_ = checkpoint.masks;
  state_.parts = checkpoint.state;
  for (NamedTensor& part : state_.parts) part.value = part.value.to(model_->device());
}

}  // namespace tandem
