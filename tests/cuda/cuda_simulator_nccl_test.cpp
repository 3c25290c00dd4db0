// The stand-in for NCCL: what it computes and what it refuses, with a communicator of one rank. Several ranks:
// cuda_simulator_nccl_ranks_test.cpp.
#include <doctest/doctest.h>

#include "tandem/core/backend.h"
#ifndef TANDEM_CUDA_SIMULATED
TEST_CASE("cuda simulator: its tests run in builds with -DTANDEM_CUDA=SIMULATE alone") {
  // In a simulated build this case means that the tests below were lost.
  CHECK(tandem::cuda_status().name != "simulated GPU");
}
#else
#include "tests/support/errors.h"
#include "tests/support/nccl_communicator.h"
#include "tests/support/simulated_device.h"

namespace tandem {
namespace {

using namespace cuda;
using testing::Communicator;
using testing::contains;
using testing::DeviceArray;
using testing::LateStream;
using testing::launch;
using testing::nccl_api;
using Values = std::vector<float>;

ncclResult_t reduce(const DeviceArray<float>& to, const DeviceArray<float>& from, ncclComm_t comm,
                    cudaStream_t stream = nullptr) {
  return nccl_api().ncclAllReduce(from.data(), to.data(), from.bytes() / sizeof(float), ncclFloat32, ncclSum,
                                  comm, stream);
}

__global__ void add_one(float* y) {
  y[threadIdx.x] += 1;
}

TEST_CASE("nccl stand-in: a communicator of one copies, sends to itself, and counts its groups") {
  const Communicator comm;
  const DeviceArray<float> x(Values{1, 2}), y(Values{0, 0}), z(Values{0, 0});
  simulator::reset_statistics();
  CHECK(reduce(y, x, comm) == ncclSuccess);
  CHECK(y.now() == Values{1, 2});
  CHECK(nccl_api().ncclGroupStart() == ncclSuccess);
  CHECK(nccl_api().ncclSend(x.data(), 1, ncclFloat32, 0, comm, nullptr) == ncclSuccess);
  CHECK(nccl_api().ncclRecv(z.data() + 1, 1, ncclFloat32, 0, comm, nullptr) == ncclSuccess);
  CHECK(z.now() == Values{0, 0});  // nothing is done before the group ends
  CHECK(nccl_api().ncclGroupEnd() == ncclSuccess);
  CHECK(z.now() == Values{0, 1});
  CHECK(simulator::statistics().nccl_groups == 2);
  int version = 0;
  CHECK(nccl_api().ncclGetVersion(&version) == ncclSuccess);
  CHECK(version > 21400);
}

TEST_CASE("nccl stand-in: groups are work of their stream: late on a late one, recorded by a capture") {
  const Communicator comm;
  const LateStream stream;
  const DeviceArray<float> x(Values{1}), y(Values{0});
  CHECK(reduce(y, x, comm, stream) == ncclSuccess);
  CHECK(y.now() == Values{0});
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(y.now() == Values{1});

  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(launch({1, 1, 0, stream}, add_one, x.data()) == cudaSuccess);
  CHECK(reduce(y, x, comm, stream) == ncclSuccess);
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(y.now() == Values{1});
  for (int replay = 1; replay <= 3; ++replay) {
    CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
    CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
    CHECK(y.now() == Values{1.0f + static_cast<float>(replay)});
  }
  CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
}

TEST_CASE("nccl stand-in: a communicator that does not block must be asked before the next call") {
  const Communicator comm(0);
  const DeviceArray<float> x(Values{1}), y(Values{0});
  CHECK(reduce(y, x, comm) == ncclInProgress);
  CHECK(reduce(y, x, comm) == ncclInvalidArgument);
  CHECK(contains(comm.last_error(), "the call before has not ended"));
  ncclResult_t state = ncclSuccess;
  CHECK(nccl_api().ncclCommGetAsyncError(comm, &state) == ncclSuccess);
  CHECK(state == ncclInProgress);
  CHECK(comm.settle() == ncclSuccess);
  CHECK(reduce(y, x, comm) == ncclInProgress);
  CHECK(comm.settle() == ncclSuccess);
  CHECK(nccl_api().ncclCommFinalize(comm) == ncclInProgress);
  CHECK(comm.settle() == ncclSuccess);
  CHECK(reduce(y, x, comm) == ncclInvalidUsage);
  CHECK(contains(comm.last_error(), "finalized"));
}

TEST_CASE("nccl stand-in: wrong arguments are refused with a text, and leave the communicator usable") {
  const Communicator comm;
  const DeviceArray<float> x(Values{1}), y(Values{0});
  float host = 0;
  const auto send = [&](const void* from, size_t count, int type, int peer, ncclComm_t to) {
    return nccl_api().ncclSend(from, count, static_cast<ncclDataType_t>(type), peer, to, nullptr);
  };
  CHECK(send(x.data(), 1, ncclFloat32, 0, nullptr) == ncclInvalidArgument);
  CHECK(contains(nccl_api().ncclGetLastError(nullptr), "ncclSend: the communicator is null"));
  const auto text_of = [&](ncclResult_t result) {
    CHECK(result == ncclInvalidArgument);
    return comm.last_error();
  };
  CHECK(contains(text_of(send(x.data(), 1, ncclFloat32, 1, comm)), "ncclSend: no rank 1"));
  CHECK(contains(text_of(send(x.data(), 1, ncclFloat32, -1, comm)), "no rank -1"));
  CHECK(contains(text_of(send(x.data(), 1, 99, 0, comm)), "no datatype 99"));
  CHECK(contains(text_of(send(x.data(), 2, ncclFloat32, 0, comm)),
                 "8 bytes at the address are not device memory"));
  CHECK(contains(text_of(send(&host, 1, ncclFloat32, 0, comm)),
                 "4 bytes at the address are not device memory"));
  CHECK(contains(text_of(send(nullptr, 1, ncclFloat32, 0, comm)), "the address is null"));
  CHECK(contains(text_of(nccl_api().ncclAllReduce(x.data(), y.data(), 1, ncclFloat32,
                                                  static_cast<ncclRedOp_t>(1), comm, nullptr)),
                 "is not ncclSum"));
  CHECK(contains(text_of(nccl_api().ncclAllReduce(x.data(), y.data(), 1, ncclInt8, ncclSum, comm, nullptr)),
                 "no sums of ncclInt8"));
  CHECK(nccl_api().ncclGroupEnd() == ncclInvalidUsage);
  // The error of a call in a group is that of the group, which does nothing.
  const LateStream other;
  CHECK(nccl_api().ncclGroupStart() == ncclSuccess);
  CHECK(reduce(y, x, comm) == ncclSuccess);
  CHECK(reduce(y, x, comm, other) == ncclInvalidArgument);
  CHECK(nccl_api().ncclGroupEnd() == ncclInvalidArgument);
  CHECK(contains(comm.last_error(), "one communicator and one stream"));
  CHECK(y.now() == Values{0});
  CHECK(reduce(y, x, comm) == ncclSuccess);
  CHECK(y.now() == Values{1});

  ncclComm_t none = nullptr;
  ncclConfig_t config;
  CHECK(nccl_api().ncclCommInitRankConfig(&none, 2, {}, 0, &config) == ncclInvalidArgument);
  CHECK(contains(nccl_api().ncclGetLastError(nullptr), "rank 0 of 2 was given, and this process is 0 of 1"));
  config.magic = 1;
  CHECK(nccl_api().ncclCommInitRankConfig(&none, 1, {}, 0, &config) == ncclInvalidArgument);
  CHECK(none == nullptr);
  CHECK(std::string(nccl_api().ncclGetErrorString(ncclInvalidUsage)) == "invalid usage");
}

TEST_CASE(
    "nccl stand-in: what cannot end holds its stream up until it is aborted; an endless wait is an error") {
  for (const bool waits_endlessly : {false, true}) {
    const testing::ClearedError cleared;
    Communicator comm;
    const LateStream stream;
    const DeviceArray<float> x(Values{1});
    cudaEvent_t event = nullptr;
    REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
    CHECK(nccl_api().ncclSend(x.data(), 1, ncclFloat32, 0, comm, stream) ==
          ncclSuccess);  // which nobody receives
    CHECK(launch({1, 1, 0, stream}, add_one, x.data()) == cudaSuccess);
    CHECK(cudaEventRecord(event, stream) == cudaSuccess);
    for (int i = 0; i < 5; ++i) {
      CHECK(cudaStreamQuery(stream) == cudaErrorNotReady);
      CHECK(cudaEventQuery(event) == cudaErrorNotReady);
    }
    CHECK(comm.settle() == ncclInvalidUsage);
    CHECK(contains(comm.last_error(), "sends rank 0 (this host) 1 ncclFloat32, which receives nothing"));
    CHECK(x.now() == Values{1});
    if (waits_endlessly) {
      CHECK(cudaStreamSynchronize(stream) == cudaErrorLaunchTimeout);
      CHECK(contains(cudaGetErrorString(cudaErrorLaunchTimeout), "the host waits without a deadline"));
    } else {
      comm.abort();
      CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
      CHECK(x.now() == Values{2});
    }
    CHECK(cudaEventDestroy(event) == (waits_endlessly ? cudaErrorLaunchTimeout : cudaSuccess));
  }
}

}  // namespace
}  // namespace tandem
#endif
