// A stand-in for NCCL between processes that each have a simulated GPU, over the ranks of core/ranks.h: host memory is
// device memory here. It has the names, values and signatures that cuda/runtime/nccl.h declares.
//
// A group of calls (ncclGroupStart .. ncclGroupEnd; a call outside of one is a group) is one piece of work of its stream,
// as a kernel is: late on a late stream, recorded by a capture. When the stream comes to it, all ranks of the communicator
// tell one another what they call, which is more than NCCL asks for: every rank must have the same number of groups. So
// calls that do not fit together are found: ncclCommGetAsyncError gives ncclInvalidUsage, and ncclGetLastError says which
// calls. As on a GPU the stream then waits until the communicator is aborted, and so it does for a rank that is gone.
//
// Its messages and those of the program take the same way, in the order in which each rank sends them. So the host waits
// for a group before it exchanges messages of its own. Ranks that are threads of one process cannot use it: each would wait
// for the others while it holds the device.
#pragma once
#include "tandem/cuda/runtime/nccl.h"

namespace tandem::simulator {

cuda::NcclFunctions nccl_functions();

}  // namespace tandem::simulator
