// Named tensors, parts of tensors, whole checkpoints and numbers of shards, sent from rank to rank. All ranks must call these functions.
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "tandem/core/ranks.h"
#include "tandem/core/transport.h"
#include "tandem/models/training/checkpoint.h"
#include "tandem/models/training/update_owners.h"

namespace tandem {

// Returns, on rank 0, the tensors of all ranks in the order of the ranks, on the CPU; on the others their own.
std::vector<NamedTensor> gather_tensors(Ranks& ranks, const std::vector<NamedTensor>& own);

// Returns rank 0's tensors, on the CPU.
std::vector<NamedTensor> broadcast_tensors(Ranks& ranks, const std::vector<NamedTensor>& tensors);

// Returns the checkpoint that rank 0 gives, so that no other rank needs its file. Error: the checkpoint is quantized,
// and so not one to train on.
Checkpoint broadcast_checkpoint(Ranks& ranks, Checkpoint checkpoint);

// Gives every rank the elements of the tensors that it lacks: each rank has those of own(tensor, rank) of each tensor. All
// ranks must call it. The tensors may lie on another device than the transport's. Error: RankLost.
void share_ranges(std::span<const Tensor> tensors,
                  const std::function<IndexRange(size_t tensor, int rank)>& own, const Ranks& ranks,
                  Transport& transport);

// Adds the messages by which all ranks learn the values of all shards, of which each rank has those of its own shards.
void add_shard_messages(const Ranks& ranks, std::span<double> values, std::vector<Ranks::Message>& sends,
                        std::vector<Ranks::Message>& receives);

}  // namespace tandem
