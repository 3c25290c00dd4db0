// Named tensors, whole checkpoints and numbers of shards, sent from rank to rank. All ranks must call these functions.
#pragma once
#include <span>
#include <vector>

#include "tandem/core/ranks.h"
#include "tandem/models/training/checkpoint.h"

namespace tandem {

// Returns, on rank 0, the tensors of all ranks in the order of the ranks, on the CPU; on the others their own.
std::vector<NamedTensor> gather_tensors(Ranks& ranks, const std::vector<NamedTensor>& own);

// Returns rank 0's tensors, on the CPU.
std::vector<NamedTensor> broadcast_tensors(Ranks& ranks, const std::vector<NamedTensor>& tensors);

// Returns the checkpoint that rank 0 gives, so that no other rank needs its file. Error: the checkpoint is quantized,
// and so not one to train on.
Checkpoint broadcast_checkpoint(Ranks& ranks, Checkpoint checkpoint);

// Adds the messages by which all ranks learn the values of all shards, of which each rank has those of its own shards.
void add_shard_messages(const Ranks& ranks, std::span<double> values, std::vector<Ranks::Message>& sends,
                        std::vector<Ranks::Message>& receives);

}  // namespace tandem
