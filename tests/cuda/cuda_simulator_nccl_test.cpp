// The stand-in for NCCL: what it computes, what it refuses, calls of several ranks that do not fit together, and a rank that
// never comes. Cases of several ranks run this program again, under mpirun.
#include <doctest/doctest.h>

#include "tandem/core/backend.h"
#ifndef TANDEM_CUDA_SIMULATED
TEST_CASE("cuda simulator: its tests run in builds with -DTANDEM_CUDA=SIMULATE alone") {
  // In a simulated build this case means that the tests below were lost.
  CHECK(tandem::cuda_status().name != "simulated GPU");
}
#else
#include <chrono>
#include <filesystem>
#include <iostream>
#include <thread>

#include "tandem/core/array.h"
#include "tandem/core/transport.h"
#include "tandem/cuda/runtime/context.h"
#include "tandem/cuda/simulator/nccl.h"
#include "tests/support/errors.h"
#include "tests/support/rank_processes.h"
#include "tests/support/run_tool.h"
#include "tests/support/simulated_device.h"

namespace tandem {
namespace {

using namespace cuda;
using testing::contains;
using testing::DeviceArray;
using testing::LateStream;
using testing::launch;
using Values = std::vector<float>;

const NcclFunctions& api() {
  static const NcclFunctions functions = simulator::nccl_functions();
  return functions;
}

// A communicator of all ranks of this process's group. It does not block if `blocking` is 0.
class Communicator {
 public:
  explicit Communicator(int blocking = 1, const std::shared_ptr<Ranks>& ranks = Ranks::alone()) {
    ncclUniqueId id{};
    if (ranks->leads()) REQUIRE(api().ncclGetUniqueId(&id) == ncclSuccess);
    ranks->broadcast(&id, sizeof id);
    ncclConfig_t config;
    config.blocking = blocking;
    const ncclResult_t started =
        api().ncclCommInitRankConfig(&comm_, ranks->size(), id, ranks->rank(), &config);
    CHECK(started == (blocking ? ncclSuccess : ncclInProgress));
    CHECK(settle() == ncclSuccess);
  }
  Communicator(const Communicator&) = delete;
  ~Communicator() { api().ncclCommDestroy(comm_); }
  operator ncclComm_t() const { return comm_; }

  // Asks until the call before has ended, and returns how.
  ncclResult_t settle() const {
    ncclResult_t result = ncclInProgress;
    while (result == ncclInProgress) REQUIRE(api().ncclCommGetAsyncError(comm_, &result) == ncclSuccess);
    return result;
  }
  std::string last_error() const { return api().ncclGetLastError(comm_); }
  void abort() { CHECK(api().ncclCommAbort(std::exchange(comm_, nullptr)) == ncclSuccess); }

 private:
  ncclComm_t comm_ = nullptr;
};

ncclResult_t reduce(const DeviceArray<float>& to, const DeviceArray<float>& from, ncclComm_t comm,
                    cudaStream_t stream = nullptr) {
  return api().ncclAllReduce(from.data(), to.data(), from.bytes() / sizeof(float), ncclFloat32, ncclSum, comm,
                             stream);
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
  CHECK(api().ncclGroupStart() == ncclSuccess);
  CHECK(api().ncclSend(x.data(), 1, ncclFloat32, 0, comm, nullptr) == ncclSuccess);
  CHECK(api().ncclRecv(z.data() + 1, 1, ncclFloat32, 0, comm, nullptr) == ncclSuccess);
  CHECK(z.now() == Values{0, 0});  // nothing is done before the group ends
  CHECK(api().ncclGroupEnd() == ncclSuccess);
  CHECK(z.now() == Values{0, 1});
  CHECK(simulator::statistics().nccl_groups == 2);
  int version = 0;
  CHECK(api().ncclGetVersion(&version) == ncclSuccess);
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
  CHECK(api().ncclCommGetAsyncError(comm, &state) == ncclSuccess);
  CHECK(state == ncclInProgress);
  CHECK(comm.settle() == ncclSuccess);
  CHECK(reduce(y, x, comm) == ncclInProgress);
  CHECK(comm.settle() == ncclSuccess);
  CHECK(api().ncclCommFinalize(comm) == ncclInProgress);
  CHECK(comm.settle() == ncclSuccess);
  CHECK(reduce(y, x, comm) == ncclInvalidUsage);
  CHECK(contains(comm.last_error(), "finalized"));
}

TEST_CASE("nccl stand-in: wrong arguments are refused with a text, and leave the communicator usable") {
  const Communicator comm;
  const DeviceArray<float> x(Values{1}), y(Values{0});
  float host = 0;
  const auto send = [&](const void* from, size_t count, int type, int peer, ncclComm_t to) {
    return api().ncclSend(from, count, static_cast<ncclDataType_t>(type), peer, to, nullptr);
  };
  CHECK(send(x.data(), 1, ncclFloat32, 0, nullptr) == ncclInvalidArgument);
  CHECK(contains(api().ncclGetLastError(nullptr), "ncclSend: the communicator is null"));
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
  CHECK(contains(text_of(api().ncclAllReduce(x.data(), y.data(), 1, ncclFloat32, static_cast<ncclRedOp_t>(1),
                                             comm, nullptr)),
                 "is not ncclSum"));
  CHECK(contains(text_of(api().ncclAllReduce(x.data(), y.data(), 1, ncclInt8, ncclSum, comm, nullptr)),
                 "no sums of ncclInt8"));
  CHECK(api().ncclGroupEnd() == ncclInvalidUsage);
  // The error of a call in a group is that of the group, which does nothing.
  const LateStream other;
  CHECK(api().ncclGroupStart() == ncclSuccess);
  CHECK(reduce(y, x, comm) == ncclSuccess);
  CHECK(reduce(y, x, comm, other) == ncclInvalidArgument);
  CHECK(api().ncclGroupEnd() == ncclInvalidArgument);
  CHECK(contains(comm.last_error(), "one communicator and one stream"));
  CHECK(y.now() == Values{0});
  CHECK(reduce(y, x, comm) == ncclSuccess);
  CHECK(y.now() == Values{1});

  ncclComm_t none = nullptr;
  ncclConfig_t config;
  CHECK(api().ncclCommInitRankConfig(&none, 2, {}, 0, &config) == ncclInvalidArgument);
  CHECK(contains(api().ncclGetLastError(nullptr), "rank 0 of 2 was given, and this process is 0 of 1"));
  config.magic = 1;
  CHECK(api().ncclCommInitRankConfig(&none, 1, {}, 0, &config) == ncclInvalidArgument);
  CHECK(none == nullptr);
  CHECK(std::string(api().ncclGetErrorString(ncclInvalidUsage)) == "invalid usage");
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
    CHECK(api().ncclSend(x.data(), 1, ncclFloat32, 0, comm, stream) == ncclSuccess);  // which nobody receives
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

// Cases of several ranks, each a process of mpirun. They end the process themselves: a group that has lost a rank cannot
// leave in order.

[[noreturn]] void end_process(const std::string& text) {
  std::cout << text << std::endl;
  std::_Exit(text == "all is well" ? 0 : 1);
}

// Runs f on the ranks that mpirun has started, and prints what is wrong.
template <class F>
[[noreturn]] void as_rank(F&& f) {
  try {
    const std::shared_ptr<Ranks> ranks = join_ranks(60);
    ranks->set_activity("step 20");
    f(ranks);
    ranks->leave();
  } catch (const std::exception& error) {
    end_process(error.what());
  }
  end_process("all is well");
}

// A check whose failure ends the rank.
void require(bool condition, const std::string& what) {
  if (!condition) throw Error("FAILED: " + what);
}

// Runs the case under mpirun. Returns what all ranks have printed.
testing::Result run_case(const std::string& name, int ranks) {
  const testing::TempDir folder;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  return testing::run_mpirun(folder, "-np " + std::to_string(ranks) + " " + testing::shell_quoted(self) +
                                         " --no-skip --test-case=" + testing::shell_quoted(name));
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST_CASE("nccl rank: data" * doctest::skip()) {
  as_rank([](const std::shared_ptr<Ranks>& ranks) {
    const int n = ranks->size(), self = ranks->rank();
    for (const simulator::Streams streams :
         {simulator::Streams::first_ahead, simulator::Streams::first_behind}) {
      compute_stream();  // is the first
      simulator::set_streams(streams);
      const std::unique_ptr<Transport> transport = make_transport(Device::cuda(), ranks);
      require(transport->way().starts_with("by NCCL "), transport->way());
      require(transport->device().is_cuda(), "the device");
      // Each rank sends r + 1 elements to rank r, and its neighbour a second message.
      std::vector<Tensor> out, in;
      std::vector<Transport::Message> sends, receives;
      const auto add = [](std::vector<Transport::Message>& messages, int rank, const Tensor& memory) {
        messages.push_back({rank, memory.raw(), memory.nbytes()});
      };
      for (int r = 0; r < n; ++r) {
        out.push_back(full({r + 1}, 10 * self + r, DType::f32, Device::cuda()));
        in.push_back(full({self + 1}, -1, DType::f32, Device::cuda()));
        if (r == self) continue;
        add(sends, r, out.back());
        add(receives, r, in.back());
      }
      const Tensor second = full({1}, self, DType::f32, Device::cuda()),
                   got = full({1}, -1, DType::f32, Device::cuda());
      add(sends, (self + 1) % n, second);
      add(receives, (self + n - 1) % n, got);
      sends.push_back({(self + 1) % n, nullptr, 0});  // what is empty goes nowhere
      receives.push_back({(self + n - 1) % n, nullptr, 0});
      require(cudaStreamSynchronize(compute_stream()) == cudaSuccess, "the stream does not end");
      transport->exchange(sends, receives);
      const Tensor sum = full({3}, self + 1, DType::f64, Device::cuda());
      transport->all_reduce(sum);
      const auto expected = static_cast<float>((self + n - 1) % n);
      const bool late = streams == simulator::Streams::first_behind;
      require(*got.data<float>() == (late ? -1 : expected), "the second message before await()");
      transport->await();
      require(*got.data<float>() == expected, "the second message");
      for (int r = 0; r < n; ++r)
        for (const float value : in[static_cast<size_t>(r)].to_vector<float>())
          require(value == static_cast<float>(r == self ? -1 : 10 * r + self), "a message");
      for (const double value : sum.to_vector<double>()) require(value == n * (n + 1) / 2.0, "the sum");
      ranks->largest(0);
    }
  });
}

TEST_CASE("nccl stand-in: messages and sums of 2, 3 and 4 ranks arrive, on early and on late streams") {
  if (!testing::has_mpirun()) return;
  for (const int ranks : {2, 3, 4}) {
    const testing::Result result = run_case("nccl rank: data", ranks);
    CAPTURE(result.output);
    CHECK(result.code == 0);
    CHECK(count(result.output, "all is well") == static_cast<size_t>(ranks));
  }
}

// Every rank calls something, and all must learn the same of it.
TEST_CASE("nccl rank: mismatch" * doctest::skip()) {
  as_rank([](const std::shared_ptr<Ranks>& ranks) {
    const int self = ranks->rank();
    const DeviceArray<float> x(Values{1, 2, 3}), y(Values{0, 0, 0});
    const auto text_of = [&](const auto& f) {
      Communicator comm(0, ranks);
      require(api().ncclGroupStart() == ncclSuccess, "ncclGroupStart");
      f(comm);
      require(api().ncclGroupEnd() == ncclInProgress, "ncclGroupEnd");
      cudaStreamQuery(compute_stream());
      cudaStreamQuery(compute_stream());
      require(comm.settle() == ncclInvalidUsage, "a mismatch was not found");
      require(cudaStreamQuery(compute_stream()) == cudaErrorNotReady, "the stream goes on");
      const std::string text = comm.last_error();
      comm.abort();
      require(cudaStreamSynchronize(compute_stream()) == cudaSuccess, "the stream does not end");
      return text;
    };
    const auto send = [&](ncclComm_t comm, size_t elements, int peer) {
      require(api().ncclSend(x.data(), elements, ncclFloat32, peer, comm, compute_stream()) == ncclSuccess,
              "send");
    };
    const auto receive = [&](ncclComm_t comm, size_t elements, int peer, ncclDataType_t type = ncclFloat32) {
      require(api().ncclRecv(y.data(), elements, type, peer, comm, compute_stream()) == ncclSuccess,
              "receive");
    };
    const auto expect = [&ranks](const std::string& text, const std::string& part) {
      require(text.find(part) != std::string::npos, part + " is not in: " + text);
      const std::vector<std::string> all = ranks->gather(text);
      for (const std::string& other : all) require(other == text, "ranks learn different texts: " + other);
    };
    const std::string zero = ranks->name(0), one = ranks->name(1), two = ranks->name(2);
    // Another number of elements.
    expect(text_of([&](ncclComm_t comm) {
             if (self == 0) send(comm, 3, 1);
             if (self == 1) receive(comm, 2, 0);
             if (self == 2) receive(comm, 1, 1);
             if (self == 1) send(comm, 1, 2);
           }),
           zero + " sends " + one + " 3 ncclFloat32, which receives 2 ncclFloat32");
    // Another peer.
    expect(text_of([&](ncclComm_t comm) {
             if (self == 0) send(comm, 3, 1);
             if (self == 1) receive(comm, 3, 2);
             if (self == 2) receive(comm, 3, 0);
           }),
           zero + " sends " + one + " 3 ncclFloat32, which receives nothing");
    // Another type.
    expect(text_of([&](ncclComm_t comm) {
             if (self == 2) send(comm, 3, 0);
             if (self == 0) receive(comm, 3, 2, ncclInt8);
             if (self == 1) receive(comm, 3, 1), send(comm, 3, 1);
           }),
           two + " sends " + zero + " 3 ncclFloat32, which receives 3 ncclInt8");
    // A sum of other sizes, and one that a rank does not take part in.
    for (const bool missing : {false, true})
      expect(text_of([&](ncclComm_t comm) {
               if (self == 1 && missing) return receive(comm, 1, 1), send(comm, 1, 1);
               require(api().ncclAllReduce(x.data(), y.data(), self == 1 ? 2 : 3, ncclFloat32, ncclSum, comm,
                                           compute_stream()) == ncclSuccess,
                       "all-reduce");
             }),
             zero + " reduces 3 ncclFloat32, " + one + (missing ? " nothing" : " 2 ncclFloat32"));
    // Unique ids of their own.
    ncclUniqueId id{};
    ncclComm_t comm = nullptr;
    require(api().ncclGetUniqueId(&id) == ncclSuccess, "ncclGetUniqueId");
    require(api().ncclCommInitRankConfig(&comm, ranks->size(), id, self, nullptr) == ncclInvalidUsage, "ids");
    expect(api().ncclGetLastError(comm), "have different unique ids");
  });
}

TEST_CASE("nccl stand-in: calls of ranks that do not fit together are told to all, instead of a hang") {
  if (!testing::has_mpirun()) return;
  const testing::Result result = run_case("nccl rank: mismatch", 3);
  CAPTURE(result.output);
  CHECK(result.code == 0);
  CHECK(count(result.output, "all is well") == 3);
}

// Rank 1 is there, but never comes to the exchange.
TEST_CASE("nccl rank: absence" * doctest::skip()) {
  as_rank([](const std::shared_ptr<Ranks>& ranks) {
    const std::unique_ptr<Transport> transport = make_transport(Device::cuda(), ranks);
    const Tensor x = full({4}, 1, DType::f32, Device::cuda());
    transport->all_reduce(x);
    transport->await();
    ranks->set_timeout(2);
    if (ranks->rank() == 1) std::this_thread::sleep_for(std::chrono::seconds(60));
    const auto start = std::chrono::steady_clock::now();
    const auto seconds = [start] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    try {
      transport->all_reduce(x);
      transport->await();
    } catch (const RankLost& lost) {
      const double waited = seconds();
      // Nothing waits for the rank any more.
      require(cudaStreamSynchronize(compute_stream()) == cudaSuccess, "the stream does not end");
      end_process((waited < 20 ? "in time: " : "too late: ") + std::string(lost.what()));
    }
    require(false, "a rank was missing, and the sum has ended");
  });
}

TEST_CASE("nccl stand-in: a rank that does not come to an exchange ends it within the deadline") {
  if (!testing::has_mpirun()) return;
  const testing::Result result = run_case("nccl rank: absence", 2);
  CHECK(result.code != 0);
  CHECK(contains(result.output, "in time: rank 0 ("));
  CHECK(
      contains(result.output, ") has waited 2 s for the others in step 20, for NCCL to exchange gradients"));
  CHECK(contains(result.output, "NCCL says: rank 0 ("));
  CHECK(contains(result.output, " s for rank 1 ("));
}

}  // namespace
}  // namespace tandem
#endif
