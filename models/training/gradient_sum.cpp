// Sums of gradients over the shards of this rank, then over ranks.
#include "tandem/models/training/gradient_sum.h"

#include <chrono>
#include <utility>

#include "tandem/autograd/leaf.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/math.h"
#include "tandem/models/training/tensor_exchange.h"

namespace tandem {
namespace {

// Gradients begin where tensors of their own would, at multiples of 512 bytes: kernels and products choose how they add by
// alignment, and the bits must not depend on whether there are shards.
constexpr int64_t kBlockBytes = 512;

int64_t block_elements(DType dtype) {
  return kBlockBytes / static_cast<int64_t>(size_of(dtype));
}

}  // namespace

Reduce reduce_named(const std::string& name) {
  TANDEM_CHECK(name == "exact" || name == "fast", "gradients cannot be reduced by \"{}\"; use exact or fast",
               name);
  return name == "exact" ? Reduce::exact : Reduce::fast;
}

GradientSum::GradientSum(std::vector<NamedTensor> parameters, int64_t shards, std::shared_ptr<Ranks> ranks,
                         std::shared_ptr<Transport> transport)
    : parameters_(std::move(parameters)),
      shards_(shards),
      ranks_(std::move(ranks)),
      transport_(std::move(transport)),
      tree_(shards, add_in_place) {
  TANDEM_CHECK(
      ranks_->size() <= shards,
      "{} ranks cannot share {} shards, since each needs one at least; start fewer ranks, or give a new run "
      "--shards={}",
      ranks_->size(), shards, ranks_->size());
  if (!parameters_.empty()) losses_ = zeros({shards_}, DType::f64, parameters_.front().value.device());
}

void GradientSum::add_parameters(const std::vector<NamedTensor>& parameters) {
  TANDEM_CHECK(begins_.empty(), "gradient sum: {} parameters come after the first gradients",
               parameters.size());
  parameters_.insert(parameters_.end(), parameters.begin(), parameters.end());
}

void GradientSum::set_layout() {
  for (const auto& [name, value] : parameters_) {
    const Tensor& first = parameters_.front().value;
    TANDEM_CHECK(value.dtype() == first.dtype() && value.device() == first.device(),
                 "gradient sum: the parameter {} is {}, and {} is {}; they must have one dtype and device",
                 name, value.summary(), parameters_.front().name, first.summary());
    begins_.push_back(elements_);
    elements_ += round_up(value.numel(), block_elements(value.dtype()));
  }
}

const Tensor& GradientSum::flat(size_t place) {
  const Tensor& parameter = parameters_.front().value;
  while (flats_.size() <= place) flats_.push_back(Tensor({elements_}, parameter.dtype(), parameter.device()));
  return flats_[place];
}

void GradientSum::push(const Tensor& loss) {
  if (begins_.empty()) set_layout();
  std::vector<Tensor> gradients;
  std::vector<int64_t> begins;
  std::vector<bool> present;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor gradient = std::exchange(parameters_[i].value.node()->grad, Tensor());
    present.push_back(gradient.defined());
    if (!gradient.defined()) continue;
    gradients.push_back(gradient);
    begins.push_back(begins_[i]);
  }
  TANDEM_CHECK(!gradients.empty(), "gradient sum: none of the {} parameters has a gradient",
               parameters_.size());
  const auto& done = tree_.parts();
  for (size_t i = 0; i < present.size() && !done.empty(); ++i)
    TANDEM_CHECK(present[i] == present_[i],
                 "gradient sum: the parameter {} has a gradient in one shard and none in another",
                 parameters_[i].name);
  present_ = std::move(present);
  const Tensor& node = flat(done.size());
  pack(node, gradients, begins);
  const int64_t shard = done.empty() ? own().first : done.back().shards.last;
  copy(losses_.view_rows(shard, shard + 1), loss);
  tree_.push({shard, shard + 1}, node);
}

void GradientSum::exchange(bool complete) {
  if (ranks_->size() == 1) return;
  const Tensor losses = losses_.to(Device::cpu());
  const auto start = std::chrono::steady_clock::now();  // here the own gradient is complete, on a GPU too
  exchange_losses(losses);
  std::vector<Tensor> parts;
  for (size_t i = 0; i < nodes_of(shards_, own()).size(); ++i)
    parts.push_back(flats_[i].to(transport_->device()));
  if (reduce_ == Reduce::exact)
    reduce_exactly(parts, complete || !owners_);
  else
    reduce_fast(parts);
  if (!parts.front().same_as(flats_.front())) copy(flats_.front(), parts.front());
  if (!losses.same_as(losses_)) copy(losses_, losses);
  exchange_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void GradientSum::exchange_losses(const Tensor& losses) {
  std::vector<Ranks::Message> sends, receives;
  add_shard_messages(*ranks_, losses.span<double>(), sends, receives);
  ranks_->exchange(sends, receives);
}

void GradientSum::give_back(const Tensor& loss) const {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& value = parameters_[i].value;
    Tensor& gradient = value.node()->grad;
    gradient = Tensor();
    if (!present_[i]) continue;
    gradient = flats_.front().view_rows(begins_[i], begins_[i] + value.numel()).view_as(value.shape());
  }
  fill(loss, 0);
  for (int64_t s = 0; s < shards_; ++s) add_in_place(loss, losses_.view_rows(s, s + 1));
}

int64_t GradientSum::place_of(UpdateOwners::Cut cut) const {
  return cut.parameter < begins_.size() ? begins_[cut.parameter] + cut.element : elements_;
}

IndexRange GradientSum::slice(int rank) const {
  if (owners_) return {place_of(owners_->begin(rank)), place_of(owners_->begin(rank + 1))};
  const int64_t block = block_elements(parameters_.front().value.dtype());
  const IndexRange blocks = part_of(elements_ / block, ranks_->size(), rank);
  return {blocks.first * block, blocks.last * block};
}

void GradientSum::reduce_exactly(const std::vector<Tensor>& parts, bool complete) {
  const int n = ranks_->size(), self = ranks_->rank();
  const auto slice_of = [this](const Tensor& flat, int rank) {
    const IndexRange range = slice(rank);
    return flat.view_rows(range.first, range.last);
  };
  const auto message = [](int rank, const Tensor& memory) {
    return Ranks::Message{rank, memory.raw(), memory.nbytes()};
  };
  const Tensor mine = slice_of(parts.front(), self);

  // All to all: the slice of each rank goes there, from every node.
  std::vector<Ranks::Message> sends, receives;
  std::vector<std::pair<IndexRange, Tensor>> nodes;  // with this rank's slice of each
  for (int r = 0; r < n; ++r) {
    const std::vector<IndexRange> nodes_of_rank = nodes_of(shards_, part_of(shards_, n, r));
    for (size_t i = 0; i < nodes_of_rank.size(); ++i) {
      const Tensor memory =
          r == self ? slice_of(parts[i], self) : Tensor(mine.shape(), mine.dtype(), mine.device());
      nodes.emplace_back(nodes_of_rank[i], memory);
      if (r != self) receives.push_back(message(r, memory));
    }
    if (r == self) continue;
    for (const Tensor& part : parts) sends.push_back(message(r, slice_of(part, r)));
  }
  transport_->exchange(sends, receives);

  TreeSum<Tensor> tree(shards_, add_in_place);
  for (const auto& [node, memory] : nodes) tree.push(node, memory);
  const Tensor& sum = tree.parts().front().value;
  if (sum.raw() != mine.raw()) copy(mine, sum);

  if (!complete) return transport_->await();

  // The finished slices go to all.
  sends.clear();
  receives.clear();
  for (int r = 0; r < n; ++r) {
    if (r == self) continue;
    sends.push_back(message(r, mine));
    receives.push_back(message(r, slice_of(parts.front(), r)));
  }
  transport_->exchange(sends, receives);
  transport_->await();
}

void GradientSum::reduce_fast(const std::vector<Tensor>& parts) {
  for (size_t i = parts.size() - 1; i > 0; --i) add_in_place(parts[i - 1], parts[i]);
  transport_->all_reduce(parts.front());
  transport_->await();
}

}  // namespace tandem
