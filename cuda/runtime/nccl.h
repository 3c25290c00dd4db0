// NCCL, loaded when it is first asked for: no program of Tandem is linked to it, and no build needs its header. The part of
// its C interface that Tandem calls is declared here, with NCCL's names and values, as version 2.14 has it; later
// versions keep it. Source: NVIDIA, NCCL's user guide, "API"; nccl.h.
#pragma once
#include <cstddef>
#include <string>

#include "tandem/cuda/runtime/runtime.h"

namespace tandem::cuda {

using ncclComm_t = struct ncclComm*;

struct ncclUniqueId {
  char internal[128];
};

enum ncclResult_t : int {
  ncclSuccess = 0,
  ncclUnhandledCudaError = 1,
  ncclSystemError = 2,
  ncclInternalError = 3,
  ncclInvalidArgument = 4,
  ncclInvalidUsage = 5,
  ncclRemoteError = 6,
  ncclInProgress = 7
};
enum ncclRedOp_t : int { ncclSum = 0 };
enum ncclDataType_t : int { ncclInt8 = 0, ncclFloat32 = 7, ncclFloat64 = 8 };

// The settings of version 2.14. The size and the version tell NCCL which fields there are; those of later versions then
// have their defaults.
struct ncclConfig_t {
  size_t size = sizeof(ncclConfig_t);
  unsigned magic = 0xcafebeef;
  unsigned version = 21400;
  int blocking = 1;  // 0: calls return at once, and ncclCommGetAsyncError says when they have ended
};

// NCCL's functions, under their own names.
struct NcclFunctions {
  ncclResult_t (*ncclGetVersion)(int* version);
  ncclResult_t (*ncclGetUniqueId)(ncclUniqueId* id);
  ncclResult_t (*ncclCommInitRankConfig)(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank,
                                         ncclConfig_t* config);
  ncclResult_t (*ncclCommGetAsyncError)(ncclComm_t comm, ncclResult_t* error);
  ncclResult_t (*ncclCommFinalize)(ncclComm_t comm);
  ncclResult_t (*ncclCommDestroy)(ncclComm_t comm);
  ncclResult_t (*ncclCommAbort)(ncclComm_t comm);
  const char* (*ncclGetErrorString)(ncclResult_t result);
  const char* (*ncclGetLastError)(ncclComm_t comm);
  ncclResult_t (*ncclAllReduce)(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                                ncclComm_t comm, cudaStream_t stream);
  ncclResult_t (*ncclSend)(const void* from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                           cudaStream_t stream);
  ncclResult_t (*ncclRecv)(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                           cudaStream_t stream);
  ncclResult_t (*ncclGroupStart)();
  ncclResult_t (*ncclGroupEnd)();
};

struct Nccl {
  NcclFunctions call{};
  std::string version;  // "2.28.9"
  std::string problem;  // why NCCL cannot be used; empty if it can
};

// Returns NCCL, which is loaded at the first call: libnccl.so.2 as the loader finds it, or the file that the environment
// variable TANDEM_NCCL names. TANDEM_NCCL=off loads none. Never throws; a problem is in the result.
const Nccl& nccl();

}  // namespace tandem::cuda
