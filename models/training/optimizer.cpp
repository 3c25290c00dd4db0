// Checks of settings and parameters; saving and restoring of the moments. The update itself is
// ops/optimizer_step.h, and ops/muon_step.h for the matrices that Muon moves.
#include "tandem/models/training/optimizer.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string_view>

#include "tandem/autograd/leaf.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/utf8.h"
#include "tandem/models/tensor_index.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

// With "muon" this is the kind of the parameters that Muon does not move.
constexpr std::pair<const char*, OptimizerKind> kKinds[] = {{"radam", OptimizerKind::radam},
                                                            {"adamw", OptimizerKind::adamw},
                                                            {"lamb", OptimizerKind::lamb},
                                                            {"nag", OptimizerKind::nag},
                                                            {"muon", OptimizerKind::radam}};

OptimizerKind kind_of(const OptimizerConfig& config) {
  for (const auto& [name, kind] : kKinds)
    if (config.kind == name) return kind;
  detail::fail("optimizer: unknown kind \"{}\"; use radam, adamw, lamb, nag or muon", config.kind);
}

UpdateRule rule_of(const OptimizerConfig& config) {
  const OptimizerKind kind = kind_of(config);
  const double own_eps = kind == OptimizerKind::lamb ? 1e-6 : 1e-8;
  return {.kind = kind,
          .beta1 = kind == OptimizerKind::nag ? config.momentum : config.beta1,
          .beta2 = config.beta2,
          .eps = config.eps > 0 ? config.eps : own_eps,
          .weight_decay = config.weight_decay,
          .clip = config.clip,
          .degenerated_to_sgd = config.degenerated_to_sgd,
          .min_trust = config.min_trust};
}

void check_config(const OptimizerConfig& config) {
  kind_of(config);
  TANDEM_CHECK(config.decay == "all" || config.decay == "matrices",
               "optimizer: decay of \"{}\"; use all, or matrices for none of biases and gains", config.decay);
  for (const auto& [name, beta] :
       {std::pair{"beta1", config.beta1}, std::pair{"beta2", config.beta2},
        std::pair{"momentum", config.momentum}, std::pair{"muon_beta", config.muon_beta}})
    TANDEM_CHECK(beta >= 0 && beta < 1, "optimizer: {} is {}; it must be at least 0 and below 1", name, beta);
  TANDEM_CHECK(config.eps >= 0 && std::isfinite(config.eps),
               "optimizer: eps is {}; it must be positive, such as 1e-8, or 0 for the kind's own",
               config.eps);
  for (const auto& [name, value] :
       {std::pair{"weight decay", config.weight_decay}, std::pair{"clip", config.clip},
        std::pair{"least trust ratio", config.min_trust}})
    TANDEM_CHECK(value >= 0 && std::isfinite(value),
                 "optimizer: {} is {}; it must be a finite number, 0 for none", name, value);
}

void multiply(const Tensor& x, const Tensor& factor) {
  TANDEM_DISPATCH(x.device(), arithmetic(x, x, factor, Arithmetic::mul));
}

}  // namespace

bool muon_moves(const NamedTensor& parameter) {
  constexpr int64_t kLeastAxis = 16;
  const Shape& shape = parameter.value.shape();
  return parameter.name.starts_with("layers.") && shape.rank() == 2 &&
         std::min(shape[0], shape[1]) >= kLeastAxis;
}

Optimizer::Optimizer(std::vector<NamedTensor> parameters, OptimizerConfig config)
    : config_(std::move(config)) {
  check_config(config_);
  if (!parameters.empty()) device_ = parameters[0].value.device();
  steps_ = zeros({1 + static_cast<int64_t>(parameters.size())}, DType::i64, device_);
  std::set<std::string> names;
  std::map<const void*, std::string> memory;  // who was first to have it
  for (NamedTensor& parameter : parameters) {
    const auto& [name, value] = parameter;
    TANDEM_CHECK(names.insert(name).second, "optimizer: two parameters are named {}; state is kept by name",
                 name);
    if (value.defined() && value.numel() > 0) {
      const auto [owner, is_first] = memory.emplace(value.raw(), name);
      TANDEM_CHECK(
          is_first,
          "optimizer: the parameters {} and {} share their memory, which would be updated twice; name it once",
          owner->second, name);
    }
    TANDEM_CHECK(value.node() && value.node()->is_leaf(),
                 "optimizer: parameter {}, {}, is not a leaf; call requires_grad() on it", name,
                 value.summary());
    TANDEM_CHECK(value.dtype() == DType::f32 || value.dtype() == DType::f64,
                 "optimizer: parameter {} is {}; keep parameters in f32 or f64", name, value.summary());
    TANDEM_CHECK(value.device() == parameters[0].value.device(),
                 "optimizer: parameter {} is {}, but {} is on {}; move them to one device", name,
                 value.summary(), parameters[0].name, parameters[0].value.device().str());
    const Tensor m = zeros_like(value), v = zeros_like(value);
    const int64_t row = static_cast<int64_t>(slots_.size()) + 1;
    slots_.push_back({parameter,
                      {0, value.numel()},
                      m,
                      v,
                      steps_.view_rows(row, row + 1),
                      Tensor(),
                      config_.kind == "muon" && muon_moves(parameter)});
  }
}

StepOutcome StepOutcome::read(std::span<const double> values) {
  return {.loss = values[0], .gradient_norm = values[1], .updated = values[2] != 0};
}

Tensor StepOutcome::updated_flag(const Tensor& outcome) {
  return outcome.view_rows(2, 3);
}

Optimizer::Updates Optimizer::updates() const {
  const Tensor none({0}, DType::f32, device_);
  Updates updates;
  updates.all = {{none, none, none, none, Tensor(), steps_.view_rows(0, 1)}};
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    const Tensor& whole = slot.parameter.value;
    if (!grad(whole).defined()) continue;
    updates.slots.push_back(i);
    if (slot.own.size() == 0 && whole.numel() > 0) {  // another rank updates it, and all count its updates
      updates.all.push_back({none, none, none, none, Tensor(), slot.steps});
      continue;
    }
    const Tensor value = part_of_tensor(whole, slot.own), gradient = part_of_tensor(grad(whole), slot.own);
    if (slot.mask.defined()) multiply(gradient, slot.mask);
    // weight_as() refreshes a stale bf16 copy here, because an update that is skipped would leave it stale.
    const bool decays = config_.decay == "all" || whole.rank() > 1;
    const bool copied = low_precision_copy(value).defined();  // of a part there is none
    const Tensor copy = copied ? weight_as(value, DType::bf16) : Tensor();
    updates.all.push_back({value, gradient, slot.m, slot.v, copy, slot.steps, decays, slot.by_muon});
    if (slot.by_muon) updates.by_muon.push_back({value, gradient, slot.m, copy, slot.mask});
  }
  return updates;
}

void Optimizer::step(const Tensor& lr, const Tensor& loss, const Tensor& outcome) {
  measure();
  update(lr, loss, outcome);
}

void Optimizer::measure() {
  updates_ = updates();
  int64_t count = 0;
  for (const size_t i : updates_.slots) count += square_count(slots_[i].parameter.value.numel(), device_);
  if (!squares_.defined() || squares_.numel() != count) squares_ = Tensor({count}, DType::f64, device_);
  for (size_t b = 0; b < (owners_ ? owners_->buckets().size() : 1); ++b) {
    std::vector<ParameterSlot> slots;
    for (size_t i = 0; i < updates_.slots.size(); ++i)
      if (bucket(b).contains(static_cast<int64_t>(updates_.slots[i]))) slots.push_back(updates_.all[i + 1]);
    const IndexRange own = square_range(b, rank_);
    gradient_squares(slots, squares_.view_rows(own.first, own.last));
  }
}

void Optimizer::update(const Tensor& lr, const Tensor& loss, const Tensor& outcome) {
  optimizer_step(updates_.all, rule_of(config_), lr, loss, squares_, outcome);
  muon_step(updates_.by_muon, {.beta = config_.muon_beta, .weight_decay = config_.weight_decay}, lr, outcome);
  for (const ParameterSlot& slot : updates_.all) mark_low_precision_current(slot.value);
  zero_grad();
  // Gradients that were summed over ranks have memory that stays. Their addresses are kept, because update() is called again
  // if it cannot become a graph.
  if (!owners_) updates_ = {};
}

UpdateOwners Optimizer::make_owners(int ranks, std::vector<IndexRange> buckets) const {
  std::vector<int64_t> sizes, grains;
  for (const Slot& slot : slots_) {
    const int64_t size = slot.parameter.value.numel();
    const bool whole = slot.by_muon || kind_of(config_) == OptimizerKind::lamb;
    sizes.push_back(size);
    grains.push_back(whole ? std::max<int64_t>(size, 1) : optimizer_block(device_));
  }
  return {std::move(sizes), grains, ranks, std::move(buckets)};
}

bool Optimizer::can_share() const {
  return device_.is_cpu() ||
         std::none_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.by_muon; });
}

void Optimizer::share(std::shared_ptr<const UpdateOwners> owners, int rank) {
  TANDEM_CHECK(!owners_, "optimizer: its updates are shared already");
  owners_ = std::move(owners);
  rank_ = rank;
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    const IndexRange own = owners_->own(i, rank);
    if (own == slot.own) continue;
    slot.own = own;
    slot.m = part_of_tensor(slot.m, own).clone();
    slot.v = part_of_tensor(slot.v, own).clone();
    if (slot.mask.defined()) slot.mask = part_of_tensor(slot.mask, own).clone();
  }
}

IndexRange Optimizer::own(size_t slot, int rank) const {
  return owners_ ? owners_->own(slot, rank) : slots_[slot].own;
}

IndexRange Optimizer::bucket(size_t index) const {
  return owners_ ? owners_->buckets().at(index) : IndexRange{0, static_cast<int64_t>(slots_.size())};
}

IndexRange Optimizer::square_range(size_t bucket, int rank) const {
  const IndexRange parameters = this->bucket(bucket);
  const int64_t block = optimizer_block(device_);
  IndexRange range{-1, 0};
  int64_t before = 0;  // numbers of the parameters before
  for (const size_t i : updates_.slots) {
    const IndexRange own = this->own(i, rank);
    if (parameters.contains(static_cast<int64_t>(i)) && own.size() > 0) {
      if (range.first < 0) range.first = before + own.first / block;
      range.last = before + square_count(own.last, device_);
    }
    before += square_count(slots_[i].parameter.value.numel(), device_);
  }
  return range.first < 0 ? IndexRange{} : range;
}

StepOutcome Optimizer::step(double lr) {
  TANDEM_CHECK(std::isfinite(lr), "optimizer: learning rate {}; it must be finite", lr);
  const Tensor outcome({StepOutcome::kSize}, DType::f64, device_);
  step(full({1}, lr, DType::f64, device_), Tensor(), outcome);
  return StepOutcome::read(outcome.to_vector<double>());
}

int64_t Optimizer::steps() const {
  return steps_.view_rows(0, 1).to_vector<int64_t>()[0];
}

void Optimizer::set_pruning_masks(const std::vector<NamedTensor>& masks) {
  std::map<std::string_view, size_t> slot_of;
  for (size_t i = 0; i < slots_.size(); ++i) slot_of[slots_[i].parameter.name] = i;
  std::vector<Tensor> by_slot(slots_.size());
  for (const auto& [name, mask] : masks) {
    const auto slot = slot_of.find(name);
    TANDEM_CHECK(slot != slot_of.end(), "optimizer: there is a mask for {}, which this model does not have",
                 printable_start(name));
    TANDEM_CHECK(!by_slot[slot->second].defined(), "optimizer: there are two masks for {}", name);
    const Tensor& value = slots_[slot->second].parameter.value;
    TANDEM_CHECK(mask.shape() == value.shape() && mask.dtype() == DType::u8,
                 "optimizer: the mask of {} is {}; it must be u8 {}", name, mask.summary(),
                 value.shape().str());
    by_slot[slot->second] = mask.to(value.dtype()).to(device_);
  }
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    slot.mask = by_slot[i];
    if (!slot.mask.defined()) continue;
    multiply(slot.parameter.value, slot.mask);
    slot.parameter.value.storage()->touch();
    slot.mask = part_of_tensor(slot.mask, slot.own);
    for (const Tensor& x : {slot.m, slot.v}) multiply(x, slot.mask);
  }
}

void Optimizer::zero_grad() {
  for (const Slot& slot : slots_) tandem::zero_grad(slot.parameter.value);
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> state{{"steps", steps_.view_rows(0, 1)}};
  for (const Slot& slot : slots_) {
    const std::string& name = slot.parameter.name;
    state.push_back({name + ".steps", slot.steps});
    if (slot.own.size() == 0 && slot.parameter.value.numel() > 0) continue;
    state.push_back({name + ".m", slot.m});
    state.push_back({name + ".v", slot.v});
  }
  return state;
}

std::vector<NamedTensor> Optimizer::joined_state(const std::vector<NamedTensor>& states) const {
  std::map<std::string_view, std::vector<Tensor>> pieces;  // by name, in the order of the ranks
  for (const NamedTensor& piece : states) pieces[piece.name].push_back(piece.value);
  std::vector<NamedTensor> joined;
  const auto take = [&pieces](const std::string& name) -> const std::vector<Tensor>& {
    const auto found = pieces.find(name);
    TANDEM_CHECK(found != pieces.end(), "optimizer: no rank has {}", name);
    return found->second;
  };
  joined.push_back({"steps", take("steps").front()});
  for (const Slot& slot : slots_) {
    const auto& [name, value] = slot.parameter;
    joined.push_back({name + ".steps", take(name + ".steps").front()});
    for (const char* const moment : {".m", ".v"}) {
      const std::vector<Tensor>& found = take(name + moment);
      const Tensor whole(value.shape(), value.dtype(), found.front().device());
      int64_t done = 0;
      for (const Tensor& piece : found) {
        copy(part_of_tensor(whole, {done, done + piece.numel()}).view_as(piece.shape()), piece);
        done += piece.numel();
      }
      TANDEM_CHECK(done == value.numel(), "optimizer: the ranks have {} of the {} elements of {}{}", done,
                   value.numel(), name, moment);
      joined.push_back({name + moment, whole});
    }
  }
  return joined;
}

void Optimizer::load_state(const std::vector<NamedTensor>& state) {
  struct Wanted {
    std::string name;
    Shape shape;
    Tensor own;  // receives the elements of `range`
    IndexRange range;
  };
  std::vector<Wanted> wanted{{"steps", {1}, steps_.view_rows(0, 1), {0, 1}}};
  for (const Slot& slot : slots_) {
    const auto& [name, value] = slot.parameter;
    wanted.push_back({name + ".steps", {1}, slot.steps, {0, 1}});
    wanted.push_back({name + ".m", value.shape(), slot.m, slot.own});
    wanted.push_back({name + ".v", value.shape(), slot.v, slot.own});
  }
  const TensorIndex index(state, "optimizer: the state");
  std::set<std::string_view> known;
  for (const Wanted& one : wanted) {
    const Tensor given = index.find(one.name);
    TANDEM_CHECK(given.defined(), "optimizer: the state has no {}; it is of another model, or incomplete",
                 one.name);
    TANDEM_CHECK(given.shape() == one.shape && given.dtype() == one.own.dtype(),
                 "optimizer: {} of the state is {}, but this model takes {} {} on {}", one.name,
                 given.summary(), name_of(one.own.dtype()), one.shape.str(), device_.str());
    known.insert(one.name);
  }
  for (const NamedTensor& given : state)
    TANDEM_CHECK(known.contains(given.name), "optimizer: the state holds {}, which this model does not have",
                 printable_start(given.name));
  for (const Wanted& one : wanted) copy(one.own, part_of_tensor(index.find(one.name), one.range));
}

}  // namespace tandem
