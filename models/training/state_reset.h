// Letting columns of a training batch begin a text anew. A column of an endless stream carries its recurrent state from step
// to step and never begins again, so that a cell which forgets nothing may come to hold what no text starts with: a model
// learns to rely on it, and misses it in evaluation and generation, which begin from nothing.
#pragma once
#include <cstdint>
#include <vector>

#include "tandem/core/shard_tree.h"
#include "tandem/models/language_model.h"

namespace tandem {

// Returns which of the columns `own`, counted from own.first, begin anew before the step that follows `step` others. Each
// column of a batch does so every `every` steps, one after another; none before the first step, or if `every` is 0.
std::vector<int64_t> columns_to_reset(int64_t step, int64_t every, IndexRange own, int64_t batch_size);

// Sets these columns of the recurrent state to 0, as at the start of a text: all parts but the memories of attention, which
// still show what was read before. On a CPU the parts that change get memory of their own.
void reset_columns(State& state, const std::vector<int64_t>& columns);

}  // namespace tandem
