// Starting the ranks of a run by mpirun, and again after a failure.
#pragma once
#include <string>
#include <vector>

#include "tandem/tools/run/ranks.h"

namespace tandem {

// Starts options.ranks processes of this program with these arguments, and waits for their end. Signals that ask for an
// end go on to them, so that they save and stop. Returns if they are done; where they have stopped, or refused their
// flags, and told so, it ends this process with their exit code. Errors: StoppedBySignal; mpirun is not found; a rank has
// failed, and no restart is left.
void launch_ranks(const RankOptions& options, const std::string& out,
                  const std::vector<std::string>& arguments);

}  // namespace tandem
