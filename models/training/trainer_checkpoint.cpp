// This file saves a trainer's state in a checkpoint and restores it.
#include <limits>
#include <nlohmann/json.hpp>

#include "tandem/core/check.h"
#include "tandem/core/digest.h"
#include "tandem/core/json.h"
#include "tandem/models/training/tensor_exchange.h"
#include "tandem/models/training/trainer.h"

namespace tandem {

Checkpoint Trainer::weights() const {
  Checkpoint checkpoint;
  checkpoint.model_config = model_->config();
  checkpoint.run_config = config_.text();
  checkpoint.vocabulary = vocabulary_;
  checkpoint.parameters = model_->parameters();
  checkpoint.masks = masks_;
  return checkpoint;
}

std::string Trainer::state_prefix(int64_t shard) const {
  return config_.recipe.shards == 1 ? "" : fmt::format("shard.{}.", shard);
}

void Trainer::check_same_weights() const {
  if (ranks_->size() == 1) return;
  Digest digest;
  for (const NamedTensor& parameter : model_->parameters()) {
    const Tensor value = parameter.value.to(Device::cpu());
    digest.update(value.raw(), value.nbytes());
  }
  const std::vector<std::string> digests = ranks_->gather(digest.hex());
  for (int r = 1; r < ranks_->size(); ++r)
    TANDEM_CHECK(
        digests[static_cast<size_t>(r)] == digests[0],
        "step {}: the weights of {} and {} are not the same bits; their processors may be of different kinds, so "
        "take hosts of one kind",
        progress_.step, ranks_->name(0), ranks_->name(r));
}

Checkpoint Trainer::checkpoint() const {
  TANDEM_CHECK(unread_.empty(), "checkpoint: {} steps are not collected yet", unread_.size());
  Checkpoint checkpoint = weights();
  checkpoint.optimizer = optimizer_.state();
  if (owners_) {
    const std::vector<NamedTensor> states = gather_tensors(*ranks_, checkpoint.optimizer);
    if (ranks_->leads()) checkpoint.optimizer = optimizer_.joined_state(states);
  }
  check_same_weights();
  std::vector<NamedTensor> state;
  for (const Shard& shard : shards_)
    for (const NamedTensor& part : shard.state.parts)
      state.push_back({state_prefix(shard.index) + part.name, part.value});
  checkpoint.state = ranks_->size() > 1 ? gather_tensors(*ranks_, state) : state;
  if (imitation_)
    for (const NamedTensor& map : imitation_->parameters()) checkpoint.state.push_back(map);
  const StreamPosition position = this->position();
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
  const RunConfig before =
      checkpoint.run_config.empty() ? config_ : RunConfig::from_text(checkpoint.run_config);
  TANDEM_CHECK(before.recipe.shards == config_.recipe.shards,
               "resume: the checkpoint is of a run of {} shards, this one has {}", before.recipe.shards,
               config_.recipe.shards);
  const Distillation &was = before.distillation, &is = config_.distillation;
  TANDEM_CHECK(
      was.weight == is.weight && was.temperature == is.temperature && was.imitate_steps == is.imitate_steps,
      "resume: in the checkpoint's run the teacher has the weight {}, the temperature {} and {} steps of imitation, in "
      "this one {}, {} and {}",
      was.weight, was.temperature, was.imitate_steps, is.weight, is.temperature, is.imitate_steps);
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
  for (Shard& shard : shards_) shard.stream.set_position({count("epoch"), count("segment")});
  counters = {json_field<double>(progress, "best_dev_nats", kWhat), count("best_step")};
  restart_graph();
  prepare_ranks();
  model_->load(checkpoint.parameters);
  optimizer_.load_state(checkpoint.optimizer);
  optimizer_.set_pruning_masks(checkpoint.masks);
  masks_ = checkpoint.masks;
  std::vector<NamedTensor> state, maps;
  for (const NamedTensor& part : checkpoint.state)
    (part.name.starts_with("imitation.") ? maps : state).push_back(part);
  if (imitation_) imitation_->load(maps);
  for (Shard& shard : shards_) {
    shard.state = State();
    const std::string prefix = state_prefix(shard.index);
    for (const auto& [name, value] : state)
      if (name.starts_with(prefix))
        shard.state.parts.push_back({name.substr(prefix.size()), value.to(model_->device())});
  }
}

}  // namespace tandem
