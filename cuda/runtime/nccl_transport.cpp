// Transport between GPUs over NCCL. A peer that is gone keeps NCCL's kernels waiting for ever, and NCCL cannot always tell.
// So the communicator does not block, this host asks instead of waiting, and its own clock decides when that is over.
#include <exception>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "tandem/core/deadline.h"
#include "tandem/core/transport.h"
#include "tandem/cuda/runtime/context.h"
#include "tandem/cuda/runtime/nccl.h"

namespace tandem::cuda {
namespace {

std::string seconds_text(double seconds) {
  std::ostringstream text;
  text << seconds << " s";
  return text.str();
}

class NcclTransport : public Transport {
 public:
  NcclTransport(std::shared_ptr<Ranks> ranks, const std::string& version)
      : Transport(Device::cuda(), "by NCCL " + version), ranks_(std::move(ranks)) {}
  ~NcclTransport() override {
    leave();
    if (beside_) cudaStreamDestroy(beside_);
    if (event_) cudaEventDestroy(event_);
  }

  // Connects to the other ranks. Returns the problem if that fails or takes longer than half of the deadline, so that the
  // ranks can still agree on another way.
  std::string connect(const ncclUniqueId& id) {
    const double limit = ranks_->timeout() / 2;
    patience_.emplace(limit);
    ncclConfig_t config;
    config.blocking = 0;
    ncclResult_t result = call_.ncclCommInitRankConfig(&comm_, ranks_->size(), id, ranks_->rank(), &config);
    while (result == ncclInProgress && !patience_->is_over()) {
      patience_->rest();
      if (call_.ncclCommGetAsyncError(comm_, &result) != ncclSuccess) break;
    }
    patience_.reset();
    if (result == ncclSuccess) return "";
    return result == ncclInProgress ? "NCCL has not connected the ranks within " + seconds_text(limit)
                                    : "ncclCommInitRankConfig: " + error_text(result);
  }
  // Drops the communicator without waiting for other ranks. What it has put on the stream ends.
  void abort() {
    if (!comm_) return;
    constexpr double kLongest = 30;
    const Watchdog watchdog(
        kLongest, ranks_->name(ranks_->rank()) + ": ncclCommAbort does not return in " + ranks_->activity());
    call_.ncclCommAbort(std::exchange(comm_, nullptr));
  }

  void exchange(std::span<const Message> sends, std::span<const Message> receives) override {
    exchange_on(compute_stream(), sends, receives);
  }

  void exchange_beside(std::span<const Message> sends, std::span<const Message> receives) override {
    if (!beside_) {
      TANDEM_CUDA_CHECK(cudaStreamCreateWithFlags(&beside_, cudaStreamNonBlocking));
      TANDEM_CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming));
    }
    wait_for(beside_, compute_stream());
    exchange_on(beside_, sends, receives);
    joined_ = false;
  }

  void join() override {
    if (!joined_) wait_for(compute_stream(), beside_);
    joined_ = true;
  }

  void all_reduce(const Tensor& data) override {
    start_waiting();
    const ncclDataType_t type = data.dtype() == DType::f64 ? ncclFloat64 : ncclFloat32;
    check(call_.ncclAllReduce(data.raw(), data.raw(), static_cast<size_t>(data.numel()), type, ncclSum, comm_,
                              compute_stream()),
          "ncclAllReduce");
    settle("ncclAllReduce");
  }

  void await() override {
    if (!patience_) return;
    for (;; patience_->rest()) {
      const cudaError_t status = cudaStreamQuery(compute_stream());
      check(state(), "an exchange of gradients");
      if (status == cudaSuccess) break;
      if (status != cudaErrorNotReady) TANDEM_CUDA_CHECK(status);
      cudaGetLastError();  // "not ready" counts as an error, which the next launch would report
      if (patience_->is_over()) fail_waiting();
    }
    patience_.reset();
  }

 private:
  void exchange_on(cudaStream_t stream, std::span<const Message> sends, std::span<const Message> receives) {
    start_waiting();
    check(call_.ncclGroupStart(), "ncclGroupStart");
    // A group must be ended, whatever its calls return.
    ncclResult_t received = ncclSuccess, sent = ncclSuccess;
    for (const Message& message : receives)
      if (message.bytes > 0 && !failed(received))
        received = call_.ncclRecv(message.data, message.bytes, ncclInt8, message.rank, comm_, stream);
    for (const Message& message : sends)
      if (message.bytes > 0 && !failed(sent))
        sent = call_.ncclSend(message.data, message.bytes, ncclInt8, message.rank, comm_, stream);
    const ncclResult_t ended = call_.ncclGroupEnd();
    check(received, "ncclRecv");
    check(sent, "ncclSend");
    check(ended, "ncclGroupEnd");
    settle("ncclGroupEnd");
  }

  // Lets what is enqueued on `stream` from now on wait for what is on `other`.
  void wait_for(cudaStream_t stream, cudaStream_t other) {
    TANDEM_CUDA_CHECK(cudaEventRecord(event_, other));
    TANDEM_CUDA_CHECK(cudaStreamWaitEvent(stream, event_, 0));
  }

  static bool failed(ncclResult_t result) { return result != ncclSuccess && result != ncclInProgress; }

  void start_waiting() {
    if (!patience_) patience_.emplace(ranks_->timeout());
  }

  ncclResult_t state() const {
    ncclResult_t now = ncclSuccess;
    const ncclResult_t asked = call_.ncclCommGetAsyncError(comm_, &now);
    return asked == ncclSuccess ? now : asked;
  }

  // Asks until the calls so far have ended: only then is their work on the stream, and may other calls follow.
  void settle(const char* call) {
    for (;; patience_->rest()) {
      const ncclResult_t now = state();
      check(now, call);
      if (now == ncclSuccess) return;
      if (patience_->is_over()) fail_waiting();
    }
  }

  std::string error_text(ncclResult_t result) const {
    const char* const last = call_.ncclGetLastError(comm_);
    const std::string details = last ? last : "";
    return call_.ncclGetErrorString(result) + (details.empty() ? "" : " (" + details + ")");
  }

  // After an error the communicator is of no use, and kernels of it may wait for ever: so it is aborted, lest the
  // destructors that wait for the device hang. No other thread is inside of NCCL, and the communicator does not block, so
  // that is allowed.
  void check(ncclResult_t result, const char* call) {
    if (!failed(result)) return;
    const std::string text = ranks_->name(ranks_->rank()) + ": " + call + " failed in " + ranks_->activity() +
                             ": " + error_text(result);
    abort();
    if (result == ncclRemoteError || result == ncclSystemError)
      throw RankLost(text +
                     "; another rank has ended, or the link to it is down; look at its output, and start "
                     "again with --resume, on any number of ranks");
    throw Error(text);
  }
  [[noreturn]] void fail_waiting() {
    const char* const last = call_.ncclGetLastError(comm_);
    const std::string details = last ? last : "";
    abort();
    throw RankLost(
        ranks_->name(ranks_->rank()) + " has waited " + seconds_text(ranks_->timeout()) +
        " for the others in " + ranks_->activity() +
        ", for NCCL to exchange gradients: one of them has ended, hangs or is stopped, or the link to it is "
        "down; look at their output, and start again with --resume, on any number of ranks (--timeout is the "
        "longest wait)" +
        (details.empty() ? "" : "; NCCL says: " + details));
  }

  // Ends the communicator together with the other ranks. During an exception they may be gone: then it is left to the end
  // of the process.
  void leave() {
    if (!comm_ || std::uncaught_exceptions() > 0) return;
    const Patience patience(ranks_->timeout());
    ncclResult_t result = call_.ncclCommFinalize(comm_);
    for (; result == ncclInProgress && !patience.is_over(); patience.rest()) result = state();
    if (result == ncclSuccess)
      call_.ncclCommDestroy(std::exchange(comm_, nullptr));
    else
      abort();
  }

  std::shared_ptr<Ranks> ranks_;
  const NcclFunctions& call_ = nccl().call;
  ncclComm_t comm_ = nullptr;
  cudaStream_t beside_ = nullptr;  // of exchange_beside()
  cudaEvent_t event_ = nullptr;    // between the streams
  bool joined_ = true;
  std::optional<Patience> patience_;  // since the first call that await() has not seen the end of
};

// Returns the first problem of any rank, with its name; empty if none has one.
std::string problem_of_any(Ranks& ranks, const std::string& own) {
  const std::vector<std::string> all = ranks.gather(own);
  for (int r = 0; r < ranks.size(); ++r)
    if (!all[static_cast<size_t>(r)].empty()) return ranks.name(r) + ": " + all[static_cast<size_t>(r)];
  return "";
}

// Returns why this rank cannot take part with the version of rank 0; empty if it can.
std::string own_problem(const std::string& version_of_leader) {
  const Nccl& own = nccl();
  if (!own.problem.empty() || version_of_leader.empty() || own.version == version_of_leader)
    return own.problem;
  return "NCCL is " + own.version + ", that of rank 0 " + version_of_leader;
}

}  // namespace

std::unique_ptr<Transport> make_nccl_transport(const std::shared_ptr<Ranks>& ranks, std::string& problem) {
  const std::string version = ranks->broadcast(nccl().version);
  problem = problem_of_any(*ranks, own_problem(version));
  if (!problem.empty()) return nullptr;
  ncclUniqueId id{};
  std::string failure;
  if (ranks->leads()) {
    const ncclResult_t result = nccl().call.ncclGetUniqueId(&id);
    if (result != ncclSuccess)
      failure = std::string("ncclGetUniqueId: ") + nccl().call.ncclGetErrorString(result);
  }
  ranks->broadcast(&id, sizeof id);
  problem = problem_of_any(*ranks, failure);
  if (!problem.empty()) return nullptr;
  context();  // sets the device, on which NCCL connects
  auto transport = std::make_unique<NcclTransport>(ranks, version);
  problem = problem_of_any(*ranks, transport->connect(id));
  if (problem.empty()) return transport;
  transport->abort();
  return nullptr;
}

}  // namespace tandem::cuda
