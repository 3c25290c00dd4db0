// GradientSum: adds the gradients of the shards of a batch, over all ranks.
//
// A rank adds its own shards in the tree of core/shard_tree.h. Then the elements of a gradient are cut into as many slices
// as there are ranks. Each rank receives its slice of every node that others hold, finishes the tree for it, and sends the
// sum to all: 2 (N - 1) / N gradients are sent by each rank where a rank holds one node, as by the best all-reduce.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tandem/core/ranks.h"
#include "tandem/core/shard_tree.h"
#include "tandem/models/named_tensor.h"

namespace tandem {

// How the sums of ranks are added.
enum class Reduce {
  exact,  // in the tree of shards: the same bits for every number of ranks
  fast,   // by the communication library, in an order that depends on the number of ranks
};
// Error: another name than "exact" or "fast".
Reduce reduce_named(const std::string& name);

class GradientSum {
 public:
  // Parameters are leaves of one dtype, f32 or f64. Error: fewer shards than ranks.
  GradientSum(std::vector<NamedTensor> parameters, int64_t shards, std::shared_ptr<Ranks> ranks);

  void set_reduce(Reduce reduce) { reduce_ = reduce; }
  // The shards of this rank.
  IndexRange own() const { return part_of(shards_, ranks_->size(), ranks_->rank()); }

  // Takes the gradients out of the leaves, as those of the next of the own shards, whose loss is `loss`, f64 (1).
  // Error: a shard has a gradient for other parameters than the one before.
  void push(const Tensor& loss);
  // Leaves the sums over all shards in the leaves, and that of the losses in `loss`, f64 (1). Error: RankLost.
  void finish(const Tensor& loss);

  // Seconds that finish() has taken so far for adding and exchanging what other ranks have.
  double exchange_seconds() const { return exchange_seconds_; }

 private:
  using Gradients = std::vector<Tensor>;  // of each parameter; undefined where there is none
  using Tree = TreeSum<Gradients>;

  Tree make_tree() const;
  void give_back(const Gradients& sums) const;
  // Adds what all ranks hold to the first part of tree_.
  void exchange(const Tensor& loss);
  // Add the gradients of all ranks; `flat` holds those of each part of this rank in one tensor. Return the tensor that
  // holds the sum in the end.
  Tensor reduce_exactly(const std::vector<Tensor>& flat, std::vector<double>& losses);
  Tensor reduce_fast(const std::vector<Tensor>& flat, std::vector<double>& losses);
  Tensor flatten(const Gradients& gradients) const;
  void unflatten(const Tensor& flat, const Gradients& gradients) const;

  std::vector<NamedTensor> parameters_;
  int64_t shards_;
  std::shared_ptr<Ranks> ranks_;
  Reduce reduce_ = Reduce::exact;
  Tree tree_;
  std::vector<Tensor> losses_;  // of the own shards so far
  double exchange_seconds_ = 0;
};

}  // namespace tandem
