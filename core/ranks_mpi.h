// The ranks that an MPI launcher started. For join_ranks() of core/ranks.h alone.
#pragma once
#include <memory>

#include "tandem/core/ranks.h"

namespace tandem {

// Initialises MPI and returns the group of all ranks, whose deadline is `timeout`; ends the process if that takes longer.
// Only builds with TANDEM_WITH_MPI have it. Error: MPI cannot be initialised.
std::shared_ptr<Ranks> join_mpi(double timeout);

}  // namespace tandem
