// The training step and its records. What a checkpoint saves and restores: trainer_checkpoint.cpp.
#include "tandem/models/training/trainer.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/cuda/runtime/batch_copy.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/state_reset.h"
#include "tandem/models/training/tensor_exchange.h"
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

std::unique_ptr<LanguageModel> given(std::unique_ptr<LanguageModel> model) {
  TANDEM_CHECK(model != nullptr, "trainer: the model is null; give one");
  return model;
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

Trainer::Trainer(const RunConfig& config, const Tokens& train, const Vocabulary& vocabulary, Device device,
                 std::shared_ptr<Ranks> ranks)
    : Trainer(make_model(config.model_config, config.seed, device), config, train, vocabulary,
              std::move(ranks)) {}

Trainer::Trainer(std::unique_ptr<LanguageModel> model, const RunConfig& config, const Tokens& train,
                 const Vocabulary& vocabulary, std::shared_ptr<Ranks> ranks)
    : config_(config),
      ranks_(std::move(ranks)),
      vocabulary_(vocabulary),
      model_(given(std::move(model))),
      optimizer_(model_->parameters(), optimizer_config(config.recipe)),
      schedule_(schedule_config(config.recipe)),
      gradients_(model_->parameters(), config.recipe.shards, ranks_, make_transport(device(), ranks_)),
      loss_({1}, DType::f64, device()),
      lr_({1}, DType::f64, device()),
      outcome_({StepOutcome::kSize}, DType::f64, device()),
      history_({kHistory, StepOutcome::kSize}, DType::f64, device()) {
  if (config_.model_config.empty()) config_.model_config = model_->config();
  TANDEM_CHECK(model_->vocabulary_size() == vocabulary.size(),
               "trainer: the model knows {} symbols, the text has {}", model_->vocabulary_size(),
               vocabulary.size());
  TANDEM_CHECK(config.recipe.accumulate >= 1, "trainer: cannot accumulate over {} segments; at least 1",
               config.recipe.accumulate);
  const PrecisionScope allowed(precision(), device());
  const Recipe& recipe = config.recipe;
  TANDEM_CHECK(recipe.shards >= 1 && recipe.batch_size % recipe.shards == 0,
               "trainer: {} rows cannot be cut into {} shards of one size", recipe.batch_size, recipe.shards);
  const Shape shape{recipe.unroll, recipe.batch_size / recipe.shards};
  for (int64_t s = gradients_.own().first; s < gradients_.own().last; ++s) {
    Shard shard{s, BatchStream(train, recipe.batch_size, recipe.unroll), {}, {}};
    shard.stream.select(part_of(recipe.batch_size, recipe.shards, s));
    for (int64_t i = 0; i < recipe.accumulate; ++i)
      shard.batches.push_back({Tensor(shape, DType::i32, device()), Tensor(shape, DType::i32, device())});
    shards_.push_back(std::move(shard));
  }
  if constexpr (kWithCuda)
    if (device().is_cuda()) batch_copy_ = std::make_shared<cuda::BatchCopy>(shape.numel());
}

void Trainer::set_reduce(Reduce reduce) {
  TANDEM_CHECK(progress_.step == 0 && !owners_,
               "trainer: the way to add gradients is set after {} steps, or after a checkpoint was restored",
               progress_.step);
  gradients_.set_reduce(reduce);
}

void Trainer::set_bucket_bytes(BucketBytes full) {
  TANDEM_CHECK(gradients_.buckets().empty(),
               "trainer: the sizes of buckets are set after {} steps, or after a checkpoint was restored",
               progress_.step);
  bucket_bytes_ = full;
}

void Trainer::prepare_ranks() {
  if (ranks_->size() == 1 || !gradients_.buckets().empty()) return;
  // On a CPU a library of messages moves nothing while the program computes.
  const bool beside = device().is_cuda() && transport().device().is_cuda();
  std::vector<int64_t> bytes;
  for (const NamedTensor& parameter : trained_parameters())
    bytes.push_back(static_cast<int64_t>(parameter.value.nbytes()));
  const std::vector<IndexRange> buckets =
      gradient_buckets(bytes, beside ? bucket_bytes_ : BucketBytes::unlimited());
  gradients_.set_buckets(buckets);
  // Sums of the library are made in place, and where layers are recomputed no tape sees which leaves they use.
  overlaps_ = beside && gradients_.reduce() == Reduce::exact && !config_.recompute;
  if (gradients_.reduce() != Reduce::exact || !optimizer_.can_share()) return;
  owners_ = std::make_shared<const UpdateOwners>(optimizer_.make_owners(ranks_->size(), buckets));
  optimizer_.share(owners_, ranks_->rank());
  gradients_.set_owners(owners_);
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
  for (Shard& shard : shards_)
    for (Batch& batch : shard.batches) {
      shard.stream.next(inputs_, targets_);
      batch.starts_epoch = shard.stream.starts_epoch();
      send(batch.inputs, inputs_);
      send(batch.targets, targets_);
    }
}

void Trainer::reset_states() {
  const Recipe& recipe = config_.recipe;
  for (Shard& shard : shards_)
    reset_columns(shard.state, columns_to_reset(progress_.step, recipe.reset_every,
                                                part_of(recipe.batch_size, recipe.shards, shard.index),
                                                recipe.batch_size));
}

void Trainer::set_teacher(Teacher teacher) {
  check_teacher(teacher, config_.distillation, *model_, vocabulary_);
  teacher_ = std::move(teacher);
  config_.distillation.digest = teacher_.digest;
  if (config_.distillation.imitate_steps == 0) return;
  TANDEM_CHECK(progress_.step == 0 && !imitation_,
               "trainer: the teacher comes after {} steps, or twice; set it once, "
               "before the first",
               progress_.step);
  imitation_ = std::make_unique<Imitation>(*model_, *teacher_.model, config_.seed);
  gradients_.add_parameters(imitation_->parameters());
  optimizer_ = Optimizer(trained_parameters(), optimizer_config(config_.recipe));
}

std::vector<NamedTensor> Trainer::trained_parameters() const {
  std::vector<NamedTensor> all = model_->parameters();
  if (imitation_)
    for (const NamedTensor& map : imitation_->parameters()) all.push_back(map);
  return all;
}

Tensor Trainer::segment_loss(const Batch& batch, State& state, const ForwardOptions& options,
                             Tensor& nll) const {
  if (!teacher()) return nll = model_->loss(batch.inputs, batch.targets, state, options);
  const Distillation& d = config_.distillation;
  const SoftCrossEntropy losses =
      progress_.step < d.imitate_steps
          ? imitation_loss(*model_, *teacher(), *imitation_, batch.inputs, batch.targets, state, options)
          : distillation_loss(*model_, *teacher(), {d.weight, d.temperature}, batch.inputs, batch.targets,
                              state, options);
  nll = losses.nll;
  return losses.loss;
}

void Trainer::run_segment(const Batch& batch, State& state, uint32_t micro_step, bool check_nan,
                          bool is_last) {
  if (batch.starts_epoch) state = State();
  const ForwardOptions options{.training = true,
                               .seed = config_.seed,
                               .step = micro_step,
                               .context = {.memory = config_.recipe.memory},
                               .recompute = config_.recompute};
  std::vector<LeafUse> leaves;
  Tape::Options instruments{
      .check_nan = check_nan, .profile = profile_, .leaves = steps_to_check_ > 0 ? &leaves : nullptr};
  if (is_last && overlaps_) {
    instruments.on_backward = [this](const auto& used) { gradients_.expect_final(used); };
    instruments.on_final = [this](const GradNode& leaf) { start_exchange(leaf); };
  }
  Tape tape(instruments);
  Tensor nll;
  const Tensor loss = segment_loss(batch, state, options, nll);
  const double share = 1.0 / static_cast<double>(micro_steps_per_step());
  add_in_place(loss_, scale(nll.detach().to(DType::f64), share).view_as({1}));
  tape.backward({loss}, {full(loss.shape(), share, loss.dtype(), loss.device())});
  check_leaves(leaves);
  if (profile_) last_profile_ = tape.times();
}

void Trainer::start_exchange(const GradNode& leaf) {
  const std::vector<size_t> buckets = gradients_.take_final(leaf);
  if (buckets.empty()) return;
  graph_step_.cut([this, buckets] {
    for (const size_t bucket : buckets) gradients_.start(bucket);
  });
}

void Trainer::check_leaves(const std::vector<LeafUse>& uses) const {
  if (uses.empty()) return;
  std::set<const GradNode*> known;
  for (const NamedTensor& parameter : trained_parameters()) known.insert(parameter.value.node().get());
  for (const LeafUse& use : uses)
    TANDEM_CHECK(
        known.contains(use.leaf.get()),
        "trainer: the loss depends on a leaf {}, used by {}, which is no parameter of the model, so that it would "
        "never be updated; register it with add_parameter(), its module with add_child(), or detach() it",
        use.shape.str(), use.op);
}

State Trainer::run_shard(const Shard& shard, uint32_t first_micro_step, bool check_nan, bool is_last) {
  State state = shard.state;
  for (size_t i = 0; i < shard.batches.size(); ++i) {
    const int64_t offset = static_cast<int64_t>(i) * config_.recipe.shards + shard.index;
    run_segment(shard.batches[i], state, first_micro_step + static_cast<uint32_t>(offset), check_nan,
                is_last && i + 1 == shard.batches.size());
  }
  return state;
}

void Trainer::compute_gradients(uint32_t first_micro_step) {
  next_states_.clear();
  if (config_.recipe.shards > 1) gradients_.begin();
  for (const Shard& shard : shards_) {
    fill(loss_, 0);
    next_states_.push_back(run_shard(shard, first_micro_step, check_nan_, &shard == &shards_.back()));
    if (config_.recipe.shards > 1) gradients_.push(loss_);
  }
}

void Trainer::update() {
  measure_gradients();
  update_own();
}

void Trainer::measure_gradients() {
  if (config_.recipe.shards > 1) gradients_.give_back(loss_);
  if (keep_gradients_) copy_gradients();
  optimizer_.measure();
}

void Trainer::update_own() {
  optimizer_.update(lr_, loss_, outcome_);
  state_is_steady_ = true;
  for (size_t i = 0; i < shards_.size(); ++i) state_is_steady_ &= keep_state(shards_[i], next_states_[i]);
}

void Trainer::copy_gradients() {
  kept_gradients_.clear();
  for (const NamedTensor& parameter : model_->parameters()) {
    const Tensor gradient = grad(parameter.value);
    if (gradient.defined()) kept_gradients_.push_back({parameter.name, gradient.clone()});
  }
}

// Keeps the state of a step that was finite; otherwise the state before it stays. On a GPU the state has memory
// of its own, into which the device copies if its own outcome says that the step was finite.
bool Trainer::keep_state(Shard& shard, State next) {
  const Tensor updated = StepOutcome::updated_flag(outcome_);
  if (device().is_cuda() && same_layout(shard.state, next)) {
    for (size_t i = 0; i < next.parts.size(); ++i)
      copy_if(shard.state.parts[i].value, next.parts[i].value, updated);
    return true;
  }
  if (updated.item() == 0) return false;
  compact_state(next);
  shard.state = std::move(next);
  if (!device().is_cuda()) return false;
  for (NamedTensor& part : shard.state.parts) part.value = part.value.clone();
  graph_step_.reset();
  return false;
}

// A step that begins an epoch has no state to start from, so its shapes differ. So do those of the steps after it until
// the memory is full, which takes several where it is longer than what a step reads.
bool Trainer::is_regular_step() const {
  return state_is_steady_ && !check_nan_ && !profile_ && !keep_gradients_ &&
         std::none_of(shards_.begin(), shards_.end(), [](const Shard& shard) {
           return shard.state.empty() || std::any_of(shard.batches.begin(), shard.batches.end(),
                                                     [](const Batch& batch) { return batch.starts_epoch; });
         });
}

void Trainer::advance() {
  TANDEM_CHECK(
      teacher() || config_.distillation.weight == 0,
      "trainer: the run learns from the teacher {}, which it does not have; give it by set_teacher()",
      config_.distillation.teacher);
  const PrecisionScope scope(precision(), device());
  if (static_cast<int64_t>(unread_.size()) == kHistory) read_history();
  StepRecord record;
  record.step = progress_.step + 1;
  record.lr = schedule_.lr(progress_.step);
  record.tokens = config_.recipe.accumulate * config_.recipe.batch_size * config_.recipe.unroll;
  if (ranks_->size() > 1) ranks_->set_activity(fmt::format("step {}", record.step));

  const uint32_t first_micro_step = progress_.micro_step;
  const double exchanged = exchange_seconds();
  // The imitation is over: later steps have another loss.
  if (progress_.step == config_.distillation.imitate_steps) restart_graph();
  load_batches();
  reset_states();
  fill(lr_, record.lr);
  prepare_ranks();
  run_parts(first_micro_step);
  next_states_.clear();
  if (steps_to_check_ > 0) --steps_to_check_;
  record.exchange_seconds = exchange_seconds() - exchanged;
  progress_.micro_step += static_cast<uint32_t>(micro_steps_per_step());
  ++progress_.step;
  const auto row = static_cast<int64_t>(unread_.size());
  copy(history_.view_rows(row, row + 1).view_as(outcome_.shape()), outcome_);
  unread_.push_back(record);
}

void Trainer::run_parts(uint32_t first_micro_step) {
  using Parts = std::vector<GraphStep::Part>;
  Parts parts{[this](uint32_t micro_step) { compute_gradients(micro_step), update(); }};
  if (ranks_->size() > 1)
    parts = {[this](uint32_t micro_step) { compute_gradients(micro_step); }, [this](uint32_t) { update(); }};
  if (owners_)
    parts = {[this](uint32_t micro_step) { compute_gradients(micro_step); },
             [this](uint32_t) { measure_gradients(); }, [this](uint32_t) { update_own(); }};
  // An exchange between ranks is never part of a graph: it has a deadline, which the host must watch. So each rank may
  // capture its graphs or fail to, and replay them or not, without the others: they meet in exchange_after() all the same.
  const auto after = [this](size_t part) { exchange_after(part); };
  if (device().is_cuda() && is_regular_step())
    graph_step_.run(first_micro_step, trained_parameters(), parts, after);
  else
    GraphStep::run_eagerly(first_micro_step, parts, after);
}

void Trainer::exchange_after(size_t part) {
  if (ranks_->size() == 1) return;
  if (part == 0) return gradients_.exchange(keep_gradients_);
  if (!owners_) return;
  loss_.item();  // waits for the device, whose own work is no exchange
  const auto start = std::chrono::steady_clock::now();
  if (part == 1) {
    const std::vector<Tensor> squares(owners_->buckets().size(), optimizer_.squares());
    share_ranges(
        squares, [this](size_t bucket, int rank) { return optimizer_.square_range(bucket, rank); }, *ranks_,
        transport());
  } else if (device().is_cuda() || StepOutcome::updated_flag(outcome_).item() != 0) {  // else no value is new
    std::vector<Tensor> values;
    for (const NamedTensor& parameter : trained_parameters()) values.push_back(parameter.value.detach());
    share_ranges(
        values, [this](size_t i, int rank) { return owners_->own(i, rank); }, *ranks_, transport());
    for (size_t i = 0; i < values.size(); ++i)  // copies in bf16 are out of date where others have written
      if (owners_->own(i, ranks_->rank()).size() < values[i].numel()) values[i].storage()->touch();
  }
  sharing_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
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
  std::string where;
  try {
    for (const NamedTensor& parameter : model_->parameters())
      TANDEM_CHECK(all_finite(parameter.value), "parameter {} is not finite before the step", parameter.name);
    const uint32_t first_micro_step = progress_.micro_step - static_cast<uint32_t>(micro_steps_per_step());
    for (const Shard& shard : shards_) run_shard(shard, first_micro_step, true, false);
  } catch (const Error& error) {
    where = error.what();
  }
  const std::vector<std::string> found = ranks_->gather(where);
  const auto first =
      std::find_if(found.begin(), found.end(), [](const std::string& text) { return !text.empty(); });
  where =
      first != found.end() ? *first : "every operator's output and gradient is finite when computed again";
  optimizer_.zero_grad();
  detail::fail(
      "training stopped at step {}: {} steps in a row were not finite (loss {}, gradient norm {}, lr {}): {}; a lower "
      "lr or a longer warmup may help",
      record.step, progress_.skipped_in_row, record.loss, record.gradient_norm, record.lr, where);
}

}  // namespace tandem
