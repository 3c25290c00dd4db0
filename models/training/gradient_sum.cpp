// Sums of gradients over the shards of this rank, then over ranks.
#include "tandem/models/training/gradient_sum.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "tandem/autograd/leaf.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"
#include "tandem/models/training/tensor_exchange.h"

namespace tandem {
namespace {

// Returns the address of an element.
void* at(const Tensor& flat, int64_t element) {
  return static_cast<char*>(flat.raw()) + static_cast<size_t>(element) * size_of(flat.dtype());
}

template <class T>
void add_memory(void* to, const void* from, int64_t count) {
  T* const sum = static_cast<T*>(to);
  const T* const more = static_cast<const T*>(from);
  cpu::for_elements(count, [sum, more](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sum[i] += more[i];
  });
}

void add_memory(DType dtype, void* to, const void* from, int64_t count) {
  dispatch_float(dtype, "gradient sum", [&]<class T>() { add_memory<T>(to, from, count); });
}

}  // namespace

Reduce reduce_named(const std::string& name) {
  TANDEM_CHECK(name == "exact" || name == "fast", "gradients cannot be reduced by \"{}\"; use exact or fast",
               name);
  return name == "exact" ? Reduce::exact : Reduce::fast;
}

GradientSum::GradientSum(std::vector<NamedTensor> parameters, int64_t shards, std::shared_ptr<Ranks> ranks)
    : parameters_(std::move(parameters)), shards_(shards), ranks_(std::move(ranks)), tree_(make_tree()) {
  TANDEM_CHECK(
      ranks_->size() <= shards,
      "{} ranks cannot share {} shards, since each needs one at least; start fewer ranks, or give a new run "
      "--shards={}",
      ranks_->size(), shards, ranks_->size());
}

GradientSum::Tree GradientSum::make_tree() const {
  return {shards_, [](Gradients& left, Gradients& right) {
            for (size_t i = 0; i < left.size(); ++i)
              if (left[i].defined()) add_in_place(left[i], right[i]);
          }};
}

void GradientSum::push(const Tensor& loss) {
  Gradients gradients;
  for (const auto& [name, value] : parameters_) {
    Tensor gradient = std::exchange(value.node()->grad, Tensor());
    if (gradient.defined() && !gradient.sole_owner()) gradient = gradient.clone();
    gradients.push_back(std::move(gradient));
  }
  if (!tree_.parts().empty())
    for (size_t i = 0; i < gradients.size(); ++i)
      TANDEM_CHECK(gradients[i].defined() == tree_.parts().front().value[i].defined(),
                   "gradient sum: the parameter {} has a gradient in one shard and none in another",
                   parameters_[i].name);
  const int64_t shard = own().first + static_cast<int64_t>(losses_.size());
  losses_.push_back(loss.clone());
  tree_.push({shard, shard + 1}, std::move(gradients));
}

void GradientSum::finish(const Tensor& loss) {
  if (ranks_->size() > 1) {
    exchange(loss);
  } else {
    fill(loss, 0);
    for (const Tensor& one : losses_) add_in_place(loss, one);
  }
  give_back(tree_.parts().front().value);
  tree_ = make_tree();
  losses_.clear();
}

void GradientSum::give_back(const Gradients& sums) const {
  for (size_t i = 0; i < sums.size(); ++i) parameters_[i].value.node()->grad = sums[i];
}

void GradientSum::exchange(const Tensor& loss) {
  std::vector<double> losses(static_cast<size_t>(shards_));
  for (size_t i = 0; i < losses_.size(); ++i)
    losses[static_cast<size_t>(own().first) + i] = losses_[i].item();
  std::vector<Tensor> flat;
  for (Tree::Part& part : tree_.parts()) {
    flat.push_back(flatten(part.value));
    if (flat.size() > 1) part.value.clear();  // only the first receives the sum
  }
  const auto start = std::chrono::steady_clock::now();  // here the own gradient is complete, on a GPU too
  const Tensor sum = reduce_ == Reduce::exact ? reduce_exactly(flat, losses) : reduce_fast(flat, losses);
  exchange_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  unflatten(sum, tree_.parts().front().value);
  double total = 0;
  for (const double one : losses) total += one;
  fill(loss, total);
}

Tensor GradientSum::reduce_exactly(const std::vector<Tensor>& flat, std::vector<double>& losses) {
  const int n = ranks_->size(), self = ranks_->rank();
  const Tensor& result = flat.front();
  const int64_t elements = result.numel();
  const auto slice = [elements, n](int rank) { return part_of(elements, n, rank); };
  const auto bytes = [&result](IndexRange range) {
    return static_cast<size_t>(range.size()) * size_of(result.dtype());
  };
  const IndexRange mine = slice(self);

  // All to all: the slice of each rank goes there, from every node.
  std::vector<Ranks::Message> sends, receives;
  add_shard_messages(*ranks_, losses, sends, receives);
  TreeSum<void*> tree(shards_, [&result, mine](void* left, void* right) {
    add_memory(result.dtype(), left, right, mine.size());
  });
  std::vector<Tensor> received;
  std::vector<std::pair<IndexRange, void*>> nodes;  // with this rank's slice of each
  for (int r = 0; r < n; ++r) {
    const std::vector<IndexRange> nodes_of_rank = nodes_of(shards_, part_of(shards_, n, r));
    for (size_t i = 0; i < nodes_of_rank.size(); ++i) {
      if (r != self) received.push_back(Tensor({mine.size()}, result.dtype()));
      void* const memory = r == self ? at(flat[i], mine.first) : received.back().raw();
      nodes.emplace_back(nodes_of_rank[i], memory);
      if (r != self) receives.push_back({r, memory, bytes(mine)});
    }
    if (r == self) continue;
    for (const Tensor& one : flat) sends.push_back({r, at(one, slice(r).first), bytes(slice(r))});
  }
  ranks_->exchange(sends, receives);

  for (const auto& [node, memory] : nodes) tree.push(node, memory);
  void* const sum = tree.parts().front().value;
  if (sum != at(result, mine.first)) std::memcpy(at(result, mine.first), sum, bytes(mine));

  // The finished slices go to all.
  sends.clear();
  receives.clear();
  for (int r = 0; r < n; ++r) {
    if (r == self) continue;
    sends.push_back({r, at(result, mine.first), bytes(mine)});
    receives.push_back({r, at(result, slice(r).first), bytes(slice(r))});
  }
  ranks_->exchange(sends, receives);
  return result;
}

Tensor GradientSum::reduce_fast(const std::vector<Tensor>& flat, std::vector<double>& losses) {
  std::vector<Ranks::Message> sends, receives;
  add_shard_messages(*ranks_, losses, sends, receives);
  ranks_->exchange(sends, receives);  // names a rank that is missing, which the library's reduction cannot
  const Tensor& result = flat.front();
  for (size_t i = flat.size() - 1; i > 0; --i)
    add_memory(result.dtype(), flat[i - 1].raw(), flat[i].raw(), result.numel());
  dispatch_float(result.dtype(), "gradient sum", [&]<class T>() { ranks_->all_reduce(result.span<T>()); });
  return result;
}

Tensor GradientSum::flatten(const Gradients& gradients) const {
  int64_t elements = 0;
  const Tensor* first = nullptr;
  for (const Tensor& gradient : gradients) {
    if (!gradient.defined()) continue;
    if (!first) first = &gradient;
    TANDEM_CHECK(gradient.dtype() == first->dtype(),
                 "gradient sum: gradients are {} and {}; they must have one dtype", first->summary(),
                 gradient.summary());
    elements += gradient.numel();
  }
  TANDEM_CHECK(first, "gradient sum: none of the {} parameters has a gradient", gradients.size());
  const Tensor flat({elements}, first->dtype(), first->device());
  int64_t begin = 0;
  for (const Tensor& gradient : gradients) {
    if (!gradient.defined() || gradient.numel() == 0) continue;
    copy(flat.view_rows(begin, begin + gradient.numel()), gradient.view_as({gradient.numel()}));
    begin += gradient.numel();
  }
  return flat.to(Device::cpu());
}

void GradientSum::unflatten(const Tensor& flat, const Gradients& gradients) const {
  const Tensor near = flat.to(parameters_.front().value.device());
  int64_t begin = 0;
  for (const Tensor& gradient : gradients) {
    if (!gradient.defined() || gradient.numel() == 0) continue;
    copy(gradient.view_as({gradient.numel()}), near.view_rows(begin, begin + gradient.numel()));
    begin += gradient.numel();
  }
}

}  // namespace tandem
