// Sums of gradients over the shards of this rank, then over ranks.
#include "tandem/models/training/gradient_sum.h"

#include <algorithm>
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

Tensor rows(const Tensor& flat, IndexRange range) {
  return flat.view_rows(range.first, range.last);
}

Ranks::Message message(int rank, const Tensor& memory) {
  return {rank, memory.raw(), memory.nbytes()};
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
      transport_(std::move(transport)) {
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

void GradientSum::set_buckets(std::vector<IndexRange> buckets) {
  TANDEM_CHECK(begins_.empty(), "gradient sum: buckets come after the first gradients");
  buckets_ = std::move(buckets);
}

void GradientSum::set_layout() {
  if (buckets_.empty()) buckets_ = {{0, static_cast<int64_t>(parameters_.size())}};
  for (const auto& [name, value] : parameters_) {
    const Tensor& first = parameters_.front().value;
    TANDEM_CHECK(value.dtype() == first.dtype() && value.device() == first.device(),
                 "gradient sum: the parameter {} is {}, and {} is {}; they must have one dtype and device",
                 name, value.summary(), parameters_.front().name, first.summary());
    begins_.push_back(elements_);
    elements_ += round_up(value.numel(), block_elements(value.dtype()));
  }
  for (size_t b = 0; b < buckets_.size(); ++b)
    for (int64_t i = buckets_[b].first; i < buckets_[b].last; ++i)
      bucket_of_.emplace(parameters_[static_cast<size_t>(i)].value.node().get(), b);
  present_.resize(parameters_.size());
  nodes_.resize(buckets_.size());
}

const Tensor& GradientSum::flat(size_t place) {
  const Tensor& parameter = parameters_.front().value;
  while (flats_.size() <= place) flats_.push_back(Tensor({elements_}, parameter.dtype(), parameter.device()));
  return flats_[place];
}

void GradientSum::begin() {
  if (begins_.empty()) set_layout();
  trees_.assign(buckets_.size(), TreeSum<Tensor>(shards_, add_in_place));
  untaken_ = buckets_.size();
  unfinished_.clear();
}

void GradientSum::push(const Tensor& loss) {
  while (untaken_ > 0) take(--untaken_);
  untaken_ = buckets_.size();
  unfinished_.clear();
  TANDEM_CHECK(std::find(present_.begin(), present_.end(), true) != present_.end(),
               "gradient sum: none of the {} parameters has a gradient", parameters_.size());
  for (const auto& [name, value] : parameters_)
    TANDEM_CHECK(!value.node()->grad.defined(),
                 "gradient sum: the parameter {} has got a gradient after its bucket was taken", name);
  const int64_t shard = trees_.front().parts().back().shards.last - 1;
  copy(losses_.view_rows(shard, shard + 1), loss);
}

void GradientSum::take(size_t bucket) {
  const IndexRange range = elements(bucket);
  const auto& done = trees_[bucket].parts();
  std::vector<Tensor> gradients;
  std::vector<int64_t> begins;
  for (auto i = static_cast<size_t>(buckets_[bucket].first); i < static_cast<size_t>(buckets_[bucket].last);
       ++i) {
    const Tensor gradient = std::exchange(parameters_[i].value.node()->grad, Tensor());
    TANDEM_CHECK(done.empty() || present_[i] == gradient.defined(),
                 "gradient sum: the parameter {} has a gradient in one shard and none in another",
                 parameters_[i].name);
    present_[i] = gradient.defined();
    if (!gradient.defined()) continue;
    gradients.push_back(gradient);
    begins.push_back(begins_[i] - range.first);
  }
  const Tensor node = flat(done.size()).view_rows(range.first, range.last);
  if (!gradients.empty()) pack(node, gradients, begins);
  const int64_t shard = done.empty() ? own().first : done.back().shards.last;
  trees_[bucket].push({shard, shard + 1}, node);
}

void GradientSum::expect_final(const std::set<const GradNode*>& leaves) {
  unfinished_.assign(buckets_.size(), 0);
  for (const auto& [leaf, bucket] : bucket_of_) unfinished_[bucket] += leaves.contains(leaf) ? 1 : 0;
}

std::vector<size_t> GradientSum::take_final(const GradNode& leaf) {
  const auto found = bucket_of_.find(&leaf);
  if (found == bucket_of_.end() || unfinished_.empty()) return {};
  --unfinished_[found->second];
  std::vector<size_t> taken;
  while (untaken_ > 1 && unfinished_[untaken_ - 1] == 0) {
    take(--untaken_);
    taken.push_back(untaken_);
  }
  return taken;
}

void GradientSum::start(size_t bucket) {
  std::vector<Ranks::Message> sends, receives;
  add_messages(bucket, flats_, sends, receives);
  transport_->exchange_beside(sends, receives);
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

IndexRange GradientSum::elements(size_t bucket) const {
  const IndexRange& parameters = buckets_[bucket];
  return {place_of({static_cast<size_t>(parameters.first), 0}),
          place_of({static_cast<size_t>(parameters.last), 0})};
}

IndexRange GradientSum::slice(size_t bucket, int rank) const {
  if (owners_) return {place_of(owners_->begin(bucket, rank)), place_of(owners_->begin(bucket, rank + 1))};
  const int64_t block = block_elements(parameters_.front().value.dtype());
  const IndexRange all = elements(bucket), blocks = part_of(all.size() / block, ranks_->size(), rank);
  return {all.first + blocks.first * block, all.first + blocks.last * block};
}

void GradientSum::add_messages(size_t bucket, const std::vector<Tensor>& parts,
                               std::vector<Ranks::Message>& sends, std::vector<Ranks::Message>& receives) {
  const int n = ranks_->size(), self = ranks_->rank();
  const Tensor mine = rows(parts.front(), slice(bucket, self));
  nodes_[bucket].clear();
  for (int r = 0; r < n; ++r) {
    const std::vector<IndexRange> nodes_of_rank = nodes_of(shards_, part_of(shards_, n, r));
    for (size_t i = 0; i < nodes_of_rank.size(); ++i) {
      const Tensor memory =
          r == self ? rows(parts[i], slice(bucket, self)) : Tensor(mine.shape(), mine.dtype(), mine.device());
      nodes_[bucket].emplace_back(nodes_of_rank[i], memory);
      if (r != self) receives.push_back(message(r, memory));
    }
    if (r == self) continue;
    for (size_t i = 0; i < nodes_of(shards_, own()).size(); ++i)
      sends.push_back(message(r, rows(parts[i], slice(bucket, r))));
  }
}

void GradientSum::reduce_exactly(const std::vector<Tensor>& parts, bool complete) {
  std::vector<Ranks::Message> sends, receives;
  for (size_t b = buckets_.size(); b-- > 0;)
    if (nodes_[b].empty()) add_messages(b, parts, sends, receives);
  transport_->exchange(sends, receives);
  transport_->join();

  sends.clear();
  receives.clear();
  for (size_t b = buckets_.size(); b-- > 0;) {
    TreeSum<Tensor> tree(shards_, add_in_place);
    for (const auto& [node, memory] : nodes_[b]) tree.push(node, memory);
    const Tensor &sum = tree.parts().front().value, mine = rows(parts.front(), slice(b, ranks_->rank()));
    if (sum.raw() != mine.raw()) copy(mine, sum);
    for (int r = 0; r < ranks_->size(); ++r) {
      if (r == ranks_->rank()) continue;
      sends.push_back(message(r, mine));
      receives.push_back(message(r, rows(parts.front(), slice(b, r))));
    }
  }
  if (complete) transport_->exchange(sends, receives);  // the finished slices go to all
  transport_->await();
  for (auto& nodes : nodes_) nodes.clear();
}

void GradientSum::reduce_fast(const std::vector<Tensor>& parts) {
  for (size_t i = parts.size() - 1; i > 0; --i) add_in_place(parts[i - 1], parts[i]);
  transport_->all_reduce(parts.front());
  transport_->await();
}

}  // namespace tandem
