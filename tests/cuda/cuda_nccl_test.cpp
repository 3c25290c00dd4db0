// NCCL, real or simulated: its declarations, its loading, and a group of one rank. Several ranks: the tests of the simulator and
// of the programs.
#include <doctest/doctest.h>

#include "tandem/core/array.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/transport.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#ifdef TANDEM_WITH_CUDA
#ifndef TANDEM_CUDA_SIMULATED
#if __has_include(<nccl.h>)
#include <nccl.h>
#define TANDEM_HAS_NCCL_HEADER
#endif
#endif
#include "tandem/cuda/runtime/nccl.h"
#endif

namespace tandem::testing {

#ifdef TANDEM_HAS_NCCL_HEADER
// The declarations in Tandem are those of the header, as far as they go.
template <class Function, class Own>
constexpr bool kSameArguments = false;
template <class... Theirs, class... Ours, class R, class S>
constexpr bool kSameArguments<R (*)(Theirs...), S (*)(Ours...)> = sizeof(R) == sizeof(S) &&
                                                                  sizeof...(Theirs) == sizeof...(Ours) &&
                                                                  ((sizeof(Theirs) == sizeof(Ours)) && ...);
#define TANDEM_SAME_VALUE(name) static_assert(static_cast<int>(::name) == static_cast<int>(cuda::name))
#define TANDEM_SAME_FUNCTION(name) \
  static_assert(kSameArguments<decltype(&::name), decltype(cuda::NcclFunctions::name)>)
TANDEM_SAME_VALUE(ncclSuccess);
TANDEM_SAME_VALUE(ncclUnhandledCudaError);
TANDEM_SAME_VALUE(ncclSystemError);
TANDEM_SAME_VALUE(ncclInternalError);
TANDEM_SAME_VALUE(ncclInvalidArgument);
TANDEM_SAME_VALUE(ncclInvalidUsage);
TANDEM_SAME_VALUE(ncclRemoteError);
TANDEM_SAME_VALUE(ncclInProgress);
TANDEM_SAME_VALUE(ncclSum);
TANDEM_SAME_VALUE(ncclInt8);
TANDEM_SAME_VALUE(ncclFloat32);
TANDEM_SAME_VALUE(ncclFloat64);
TANDEM_SAME_FUNCTION(ncclGetVersion);
TANDEM_SAME_FUNCTION(ncclGetUniqueId);
TANDEM_SAME_FUNCTION(ncclCommInitRankConfig);
TANDEM_SAME_FUNCTION(ncclCommGetAsyncError);
TANDEM_SAME_FUNCTION(ncclCommFinalize);
TANDEM_SAME_FUNCTION(ncclCommDestroy);
TANDEM_SAME_FUNCTION(ncclCommAbort);
TANDEM_SAME_FUNCTION(ncclGetErrorString);
TANDEM_SAME_FUNCTION(ncclGetLastError);
TANDEM_SAME_FUNCTION(ncclAllReduce);
TANDEM_SAME_FUNCTION(ncclSend);
TANDEM_SAME_FUNCTION(ncclRecv);
TANDEM_SAME_FUNCTION(ncclGroupStart);
TANDEM_SAME_FUNCTION(ncclGroupEnd);
static_assert(sizeof(::ncclUniqueId) == sizeof(cuda::ncclUniqueId));
static_assert(offsetof(::ncclConfig_t, magic) == offsetof(cuda::ncclConfig_t, magic));
static_assert(offsetof(::ncclConfig_t, version) == offsetof(cuda::ncclConfig_t, version));
static_assert(offsetof(::ncclConfig_t, blocking) == offsetof(cuda::ncclConfig_t, blocking));

TEST_CASE("nccl: a configuration begins as that of the header does, for an older version") {
  const ::ncclConfig_t theirs = NCCL_CONFIG_INITIALIZER;
  const cuda::ncclConfig_t ours;
  CHECK(ours.magic == theirs.magic);
  CHECK(ours.version <= theirs.version);
  CHECK(ours.size == sizeof ours);
  CHECK(theirs.size == sizeof theirs);
}
#endif

TEST_CASE("nccl: it is loaded when it is asked for, or the reason is known") {
  if constexpr (kWithCuda) {
#ifdef TANDEM_WITH_CUDA
    const cuda::Nccl& nccl = cuda::nccl();
    MESSAGE("NCCL " << nccl.version << nccl.problem);
    CHECK(nccl.version.empty() != nccl.problem.empty());
    CHECK(&cuda::nccl() == &nccl);
    if (nccl.problem.empty()) {
      CHECK(std::string(nccl.call.ncclGetErrorString(cuda::ncclInvalidUsage)).starts_with("invalid usage"));
      CHECK(nccl.call.ncclGetVersion(nullptr) != cuda::ncclSuccess);
    }
#endif
  } else {
    MESSAGE("skipped: this build has no CUDA");
    CHECK_FALSE(has_cuda());
  }
}

TEST_CASE("nccl: a transport of one rank sums, exchanges nothing, and ends in order") {
  if constexpr (kWithCuda) {
    if (!has_cuda()) return;
    std::string problem;
    const std::unique_ptr<Transport> transport = cuda::make_nccl_transport(Ranks::alone(), problem);
    if (!transport) {
      MESSAGE("skipped: ", problem);
      CHECK(problem.starts_with("rank 0 (this host): "));
      return;
    }
    CHECK(problem.empty());
    CHECK(transport->device().is_cuda());
    CHECK(transport->way().starts_with("by NCCL 2."));
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Tensor x = full({1000}, 1.5, dtype, Device::cuda());
      transport->all_reduce(x);
      transport->exchange({}, {});
      transport->await();
      transport->await();  // there is nothing left to wait for
      CHECK(x.to(DType::f64).to_vector<double>() == std::vector<double>(1000, 1.5));
    }
  }
}

TEST_CASE("transport: on a CPU it is the ranks' own, and has no way of its own to tell") {
  const std::unique_ptr<Transport> transport = make_transport(Device::cpu(), Ranks::alone());
  CHECK(transport->device().is_cpu());
  CHECK(transport->way().empty());
  const Tensor x = full({3}, 2, DType::f64);
  transport->all_reduce(x);
  transport->await();
  CHECK(x.to_vector<double>() == std::vector<double>{2, 2, 2});
  CHECK(contains(error_of([&] { transport->all_reduce(full({1}, 1, DType::i32)); }), "all-reduce"));
}

}  // namespace tandem::testing
