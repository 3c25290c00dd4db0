// GradientSum: adds the gradients of the shards of a batch, over all ranks.
//
// All gradients of a shard lie one behind the other in one flat tensor. A rank adds its own shards in the tree of
// core/shard_tree.h. Then the elements of each bucket (gradient_buckets.h) are cut into as many slices as there are ranks.
// Each rank receives its slice of every node that others hold, finishes the tree for it, and sends the sum to all:
// 2 (N - 1) / N gradients are sent by each rank where a rank holds one node, as by the best all-reduce. Which memory they are
// sent from is the transport's matter (core/transport.h): that of GPUs over NCCL, or of the host over MPI.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tandem/core/array.h"
#include "tandem/core/ranks.h"
#include "tandem/core/shard_tree.h"
#include "tandem/core/transport.h"
#include "tandem/models/named_tensor.h"
#include "tandem/models/training/update_owners.h"

namespace tandem {

// How the sums of ranks are added.
enum class Reduce {
  exact,  // in the tree of shards: the same bits for every number of ranks
  fast,   // by the communication library, in an order that depends on the number of ranks
};
// Error: another name than "exact" or "fast".
Reduce reduce_named(const std::string& name);

// A step is begin(), push() for each of the own shards, exchange() and give_back(). On a GPU all but exchange() only enqueue
// work, at addresses that do not change from step to step, so that a CUDA graph may hold what lies before or behind it.
//
// Buckets may go to other ranks while the last backward pass of the step still runs: expect_final() before the pass,
// take_final() for each leaf in it, and start() for each bucket that this returns, when what was enqueued before has begun.
class GradientSum {
 public:
  // Parameters are leaves of one dtype, f32 or f64, on one device, and `transport` is one for that device. Error: fewer
  // shards than ranks.
  GradientSum(std::vector<NamedTensor> parameters, int64_t shards, std::shared_ptr<Ranks> ranks,
              std::shared_ptr<Transport> transport);

  // Adds gradients of more parameters, before the first push(). Error: later.
  void add_parameters(const std::vector<NamedTensor>& parameters);
  // Cuts the parameters into buckets, which is one bucket otherwise. Error: after the first begin().
  void set_buckets(std::vector<IndexRange> buckets);
  const std::vector<IndexRange>& buckets() const { return buckets_; }
  void set_reduce(Reduce reduce) { reduce_ = reduce; }
  Reduce reduce() const { return reduce_; }
  // Makes the elements that a rank owns its slice; null: slices of one size. With owners exchange() gives every rank the sum of
  // its own slice alone, unless it is to be complete.
  void set_owners(std::shared_ptr<const UpdateOwners> owners) { owners_ = std::move(owners); }
  // The shards of this rank.
  IndexRange own() const { return part_of(shards_, ranks_->size(), ranks_->rank()); }
  // How gradients go to other ranks.
  Transport& transport() const { return *transport_; }

  // Forgets what was pushed before.
  void begin();
  // Takes the gradients out of the leaves, as those of the next of the own shards, whose loss is `loss`, f64 (1).
  // Error: a shard has a gradient for other parameters than the one before.
  void push(const Tensor& loss);

  // Announces the last backward pass for the last of the own shards, in which these leaves still get gradients.
  void expect_final(const std::set<const GradNode*>& leaves);
  // Takes note that a leaf has got all of its gradient. Takes the gradients of the buckets that are complete now, which wait
  // for those behind them, and returns these buckets. The first bucket waits for push(), since nothing is left to do then.
  std::vector<size_t> take_final(const GradNode& leaf);
  // Begins to exchange a bucket, in the order in which take_final() has returned them. On a GPU this goes on beside what is
  // enqueued later. Error: RankLost.
  void start(size_t bucket);

  // Adds what all ranks have pushed, for which it waits. `complete`: every rank gets all sums, whoever owns them; all ranks
  // must give the same. Error: RankLost.
  void exchange(bool complete = false);
  // Leaves the sums in the leaves, and that of the losses in `loss`, f64 (1). The gradients are views of memory that the
  // next push() overwrites.
  void give_back(const Tensor& loss) const;

  // Seconds that exchange() has taken so far for adding and exchanging what other ranks have.
  double exchange_seconds() const { return exchange_seconds_; }

 private:
  // Decides where each parameter's gradient lies in a flat tensor.
  void set_layout();
  // Returns the flat tensor for the node at this place of the tree's stack.
  const Tensor& flat(size_t place);
  // Moves the gradients of a bucket from the leaves into a flat tensor, as those of the next shard.
  void take(size_t bucket);
  // The elements of a bucket in a flat tensor.
  IndexRange elements(size_t bucket) const;
  // The part of a bucket that a rank finishes. All parts begin at whole blocks, so that they are aligned.
  IndexRange slice(size_t bucket, int rank) const;
  // Returns where the elements behind a cut begin in a flat tensor.
  int64_t place_of(UpdateOwners::Cut cut) const;
  // Sends the losses of the own shards to all, and receives theirs; `losses`, f64 (shards), is on the CPU. It names a rank
  // that is missing, which NCCL cannot.
  void exchange_losses(const Tensor& losses);
  // Adds the messages by which each rank gets its slice of a bucket, from the nodes that others hold; `parts` are those of
  // this rank.
  void add_messages(size_t bucket, const std::vector<Tensor>& parts, std::vector<Ranks::Message>& sends,
                    std::vector<Ranks::Message>& receives);
  // Add what all ranks hold; `parts` are the nodes of this rank on the transport's device. The sum is in the first then, all
  // of it or the own slices.
  void reduce_exactly(const std::vector<Tensor>& parts, bool complete);
  void reduce_fast(const std::vector<Tensor>& parts);

  std::vector<NamedTensor> parameters_;
  int64_t shards_;
  std::shared_ptr<Ranks> ranks_;
  std::shared_ptr<Transport> transport_;
  Reduce reduce_ = Reduce::exact;
  std::shared_ptr<const UpdateOwners> owners_;
  std::vector<IndexRange> buckets_;  // parameters of each; set_layout() makes one if there is none
  std::vector<int64_t> begins_;      // of each parameter's gradient in a flat tensor
  std::map<const GradNode*, size_t> bucket_of_;  // by leaf
  int64_t elements_ = 0;                         // of a flat tensor
  std::vector<Tensor> flats_;                    // by place of the tree's stack; kept from step to step
  std::vector<TreeSum<Tensor>> trees_;  // of the shards so far, by bucket; their values are parts of flats_
  std::vector<bool> present_;           // whether each parameter has a gradient in this step
  size_t untaken_ = 0;                  // buckets of the shard that is computed whose gradients are not taken
  std::vector<int64_t> unfinished_;     // leaves of each bucket that expect_final() named and are not final
  std::vector<std::vector<std::pair<IndexRange, Tensor>>>
      nodes_;      // of the tree, with this rank's slice; by bucket, empty unless its exchange has begun
  Tensor losses_;  // f64 (shards), on the device; those of other ranks only after exchange()
  double exchange_seconds_ = 0;
};

}  // namespace tandem
