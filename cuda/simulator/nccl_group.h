// The stand-in for NCCL keeps communicators and calls in these structs, and does the calls of a group together.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "internal.h"
#include "tandem/core/ranks.h"
#include "tandem/cuda/runtime/nccl.h"

namespace tandem::simulator {

struct NcclState {
  std::shared_ptr<Ranks> ranks;
  std::string id;  // the bytes of the unique id
  bool blocking = true;
  bool joined = false;
  bool in_progress = false;  // the last call has returned, and the program has not seen its end
  int questions = 0;         // since that call
  bool finalized = false, aborted = false;
  bool stuck = false;  // a group cannot end, which only an abort changes
  cuda::ncclResult_t error = cuda::ncclSuccess;
  std::string last_error;
};

enum class NcclKind : int { all_reduce, send, receive };

struct NcclCall {
  NcclKind kind;
  const void* from;
  void* to;
  size_t count;
  cuda::ncclDataType_t type;
  cuda::ncclRedOp_t op;
  int peer;  // 0 for a reduction
};

const char* name_of(NcclKind kind);         // "ncclSend"
size_t size_of(cuda::ncclDataType_t type);  // in bytes; 0 if it is not simulated

// Meets the other ranks of a new communicator, and leaves what is wrong in the state.
void join(NcclState& state);

// Does the calls together with the other ranks. Returns cudaErrorNotReady if they cannot end.
cudaError_t run(NcclState& state, const std::vector<NcclCall>& calls);

}  // namespace tandem::simulator
