// NCCL's calls and their checks. What a group does when its stream comes to it is in nccl_group.cpp.
#include "nccl.h"

#include <cstring>
#include <random>

#include "internal.h"
#include "nccl_group.h"

namespace tandem::cuda {

// A communicator, which holds its state together with the groups that are still to be done.
struct ncclComm {
  std::shared_ptr<simulator::NcclState> state;
};

}  // namespace tandem::cuda

namespace tandem::simulator {
namespace {

using namespace cuda;

constexpr int kVersion = 22809;
constexpr unsigned kMagic = 0xcafebeef;

// The text of the last error in a call that has no communicator.
std::string& text_without_communicator() {
  static auto* text = new std::string;
  return *text;
}

ncclResult_t refuse(ncclComm_t comm, ncclResult_t result, std::string text) {
  (comm ? comm->state->last_error : text_without_communicator()) = std::move(text);
  return result;
}

// Calls since ncclGroupStart.
struct Group {
  int depth = 0;
  std::vector<NcclCall> calls;
  ncclComm_t comm = nullptr;
  cudaStream_t stream = nullptr;
  ncclResult_t result = ncclSuccess;  // the first error of a call in it
};
thread_local Group t_group;

// A call of a communicator that does not block returns before it has ended, even if it has not: the program must ask.
ncclResult_t answer(NcclState& state) {
  if (state.blocking) return state.error;
  state.in_progress = true;
  state.questions = 0;
  return ncclInProgress;
}

// Returns ncclSuccess if the communicator may be used now.
ncclResult_t ready(ncclComm_t comm, const char* call) {
  if (!comm) return refuse(comm, ncclInvalidArgument, std::string(call) + ": the communicator is null");
  const NcclState& state = *comm->state;
  if (state.in_progress)
    return refuse(
        comm, ncclInvalidArgument,
        std::string(call) +
            ": the call before has not ended; ask ncclCommGetAsyncError until it is not ncclInProgress");
  if (state.finalized)
    return refuse(comm, ncclInvalidUsage, std::string(call) + ": the communicator is finalized");
  return state.error;
}

// Puts the work of the group on its stream.
ncclResult_t enqueue(Group group) {
  if (group.result != ncclSuccess || group.calls.empty()) return group.result;
  NcclState& state = *group.comm->state;
  const cudaError_t error = submit(
      group.stream, [kept = group.comm->state, calls = std::move(group.calls)] { return run(*kept, calls); });
  if (error != cudaSuccess && error != cudaErrorNotReady)
    return refuse(group.comm, ncclUnhandledCudaError, cudaGetErrorString(error));
  return answer(state);
}

// Checks a call and adds it to the group, or does it if there is none.
ncclResult_t add(const NcclCall& call, ncclComm_t comm, cudaStream_t stream) {
  const std::lock_guard lock(mutex());
  const auto refused = [&]() -> ncclResult_t {
    const std::string name = name_of(call.kind);
    if (const ncclResult_t result = ready(comm, name.c_str()); result != ncclSuccess) return result;
    const auto wrong = [comm, &name](const std::string& text) {
      return refuse(comm, ncclInvalidArgument, name + ": " + text);
    };
    if (size_of(call.type) == 0) return wrong("no datatype " + std::to_string(call.type));
    if (call.op != ncclSum) return wrong("the operation is not ncclSum, which alone is simulated");
    if (call.kind == NcclKind::all_reduce && call.type == ncclInt8) return wrong("no sums of ncclInt8");
    const size_t bytes = call.count * size_of(call.type);
    for (const void* memory : {call.from, static_cast<const void*>(call.to)})
      if (memory && bytes > 0 && !is_device_memory(memory, bytes))
        return wrong(std::to_string(bytes) + " bytes at the address are not device memory");
    if (bytes > 0 &&
        ((call.kind != NcclKind::receive && !call.from) || (call.kind != NcclKind::send && !call.to)))
      return wrong("the address is null");
    if (call.peer < 0 || call.peer >= comm->state->ranks->size())
      return wrong("no rank " + std::to_string(call.peer));
    const Group& group = t_group;
    if (group.depth > 0 && !group.calls.empty() && (group.comm != comm || group.stream != stream))
      return wrong("only groups on one communicator and one stream are simulated");
    return ncclSuccess;
  }();
  if (t_group.depth == 0) {
    if (refused != ncclSuccess) return refused;
    return enqueue({.depth = 0, .calls = {call}, .comm = comm, .stream = stream, .result = ncclSuccess});
  }
  if (refused != ncclSuccess) {
    if (t_group.result == ncclSuccess) t_group.result = refused;
    return refused;
  }
  t_group.calls.push_back(call);
  t_group.comm = comm;
  t_group.stream = stream;
  return ncclSuccess;
}

ncclResult_t get_version(int* version) {
  if (!version) return ncclInvalidArgument;
  *version = kVersion;
  return ncclSuccess;
}

ncclResult_t get_unique_id(ncclUniqueId* id) {
  if (!id) return ncclInvalidArgument;
  std::random_device random;
  for (char& byte : id->internal) byte = static_cast<char>(random());
  return ncclSuccess;
}

ncclResult_t init(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  const std::lock_guard lock(mutex());
  if (!comm) return ncclInvalidArgument;
  *comm = nullptr;
  if (config && (config->magic != kMagic || config->size < sizeof(ncclConfig_t) || config->blocking < 0 ||
                 config->blocking > 1))
    return refuse(nullptr, ncclInvalidArgument,
                  "ncclCommInitRankConfig: the configuration is not initialized");
  const std::shared_ptr<Ranks> joined = joined_ranks();
  if (ranks != joined->size() || rank != joined->rank())
    return refuse(nullptr, ncclInvalidArgument,
                  "ncclCommInitRankConfig: rank " + std::to_string(rank) + " of " + std::to_string(ranks) +
                      " was given, and this process is " + std::to_string(joined->rank()) + " of " +
                      std::to_string(joined->size()));
  *comm = new ncclComm{std::make_shared<NcclState>()};
  NcclState& state = *(*comm)->state;
  state.ranks = joined;
  state.id.assign(id.internal, sizeof id.internal);
  state.blocking = !config || config->blocking == 1;
  if (state.blocking) join(state);
  return answer(state);
}

// Says ncclInProgress once after each call.
ncclResult_t get_async_error(ncclComm_t comm, ncclResult_t* error) {
  const std::lock_guard lock(mutex());
  if (!comm || !error) return ncclInvalidArgument;
  NcclState& state = *comm->state;
  if (state.in_progress && state.questions++ == 0) {
    *error = ncclInProgress;
    return ncclSuccess;
  }
  if (state.in_progress && !state.joined) join(state);
  state.in_progress = false;
  *error = state.error;
  return ncclSuccess;
}

ncclResult_t finalize(ncclComm_t comm) {
  const std::lock_guard lock(mutex());
  if (const ncclResult_t result = ready(comm, "ncclCommFinalize"); result != ncclSuccess) return result;
  comm->state->finalized = true;
  return answer(*comm->state);
}

ncclResult_t destroy(ncclComm_t comm) {
  const std::lock_guard lock(mutex());
  delete comm;
  return ncclSuccess;
}

ncclResult_t abort_all(ncclComm_t comm) {
  const std::lock_guard lock(mutex());
  if (!comm) return ncclSuccess;
  comm->state->aborted = true;
  delete comm;
  return ncclSuccess;
}

const char* error_string(ncclResult_t result) {
  constexpr const char* kTexts[] = {"no error",
                                    "unhandled cuda error",
                                    "unhandled system error",
                                    "internal error",
                                    "invalid argument",
                                    "invalid usage",
                                    "remote process exited or there was a network error",
                                    "NCCL operation in progress"};
  const auto index = static_cast<size_t>(result);
  return index < std::size(kTexts) ? kTexts[index] : "unknown result code";
}

const char* last_error(ncclComm_t comm) {
  return (comm ? comm->state->last_error : text_without_communicator()).c_str();
}

ncclResult_t all_reduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                        ncclComm_t comm, cudaStream_t stream) {
  return add({NcclKind::all_reduce, from, to, count, type, op, 0}, comm, stream);
}

ncclResult_t send(const void* from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                  cudaStream_t stream) {
  return add({NcclKind::send, from, nullptr, count, type, ncclSum, peer}, comm, stream);
}

ncclResult_t receive(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                     cudaStream_t stream) {
  return add({NcclKind::receive, nullptr, to, count, type, ncclSum, peer}, comm, stream);
}

ncclResult_t group_start() {
  ++t_group.depth;
  return ncclSuccess;
}

ncclResult_t group_end() {
  const std::lock_guard lock(mutex());
  if (t_group.depth == 0)
    return refuse(nullptr, ncclInvalidUsage, "ncclGroupEnd: there was no ncclGroupStart");
  if (--t_group.depth > 0) return ncclSuccess;
  return enqueue(std::exchange(t_group, {}));
}

}  // namespace

cuda::NcclFunctions nccl_functions() {
  return {.ncclGetVersion = get_version,
          .ncclGetUniqueId = get_unique_id,
          .ncclCommInitRankConfig = init,
          .ncclCommGetAsyncError = get_async_error,
          .ncclCommFinalize = finalize,
          .ncclCommDestroy = destroy,
          .ncclCommAbort = abort_all,
          .ncclGetErrorString = error_string,
          .ncclGetLastError = last_error,
          .ncclAllReduce = all_reduce,
          .ncclSend = send,
          .ncclRecv = receive,
          .ncclGroupStart = group_start,
          .ncclGroupEnd = group_end};
}

}  // namespace tandem::simulator
