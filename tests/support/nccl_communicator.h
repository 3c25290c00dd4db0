// For tests of the stand-in for NCCL: its functions, and a communicator.
#pragma once
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>

#include "tandem/core/ranks.h"
#include "tandem/cuda/simulator/nccl.h"

namespace tandem::testing {

inline const cuda::NcclFunctions& nccl_api() {
  static const cuda::NcclFunctions functions = simulator::nccl_functions();
  return functions;
}

// A communicator of all ranks of this process's group. It does not block if `blocking` is 0.
class Communicator {
 public:
  explicit Communicator(int blocking = 1, const std::shared_ptr<Ranks>& ranks = Ranks::alone()) {
    cuda::ncclUniqueId id{};
    if (ranks->leads()) REQUIRE(nccl_api().ncclGetUniqueId(&id) == cuda::ncclSuccess);
    ranks->broadcast(&id, sizeof id);
    cuda::ncclConfig_t config;
    config.blocking = blocking;
    const cuda::ncclResult_t started =
        nccl_api().ncclCommInitRankConfig(&comm_, ranks->size(), id, ranks->rank(), &config);
    CHECK(started == (blocking ? cuda::ncclSuccess : cuda::ncclInProgress));
    CHECK(settle() == cuda::ncclSuccess);
  }
  Communicator(const Communicator&) = delete;
  ~Communicator() { nccl_api().ncclCommDestroy(comm_); }
  operator cuda::ncclComm_t() const { return comm_; }

  // Asks until the call before has ended, and returns how.
  cuda::ncclResult_t settle() const {
    cuda::ncclResult_t result = cuda::ncclInProgress;
    while (result == cuda::ncclInProgress)
      REQUIRE(nccl_api().ncclCommGetAsyncError(comm_, &result) == cuda::ncclSuccess);
    return result;
  }
  std::string last_error() const { return nccl_api().ncclGetLastError(comm_); }
  void abort() { CHECK(nccl_api().ncclCommAbort(std::exchange(comm_, nullptr)) == cuda::ncclSuccess); }

 private:
  cuda::ncclComm_t comm_ = nullptr;
};

}  // namespace tandem::testing
