// The stand-in for NCCL between several ranks, which are this program again under mpirun: data that arrive, calls that do not
// fit together, steps in graphs, and a rank that never comes.
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
#include "tandem/models/training/tensor_exchange.h"
#include "tests/support/errors.h"
#include "tests/support/nccl_communicator.h"
#include "tests/support/rank_processes.h"
#include "tests/support/run_tool.h"
#include "tests/support/same_bits.h"
#include "tests/support/simulated_device.h"
#include "tests/support/small_run.h"

namespace tandem {
namespace {

using namespace cuda;
using testing::Communicator;
using testing::contains;
using testing::DeviceArray;
using testing::nccl_api;
using Values = std::vector<float>;

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
testing::ProcessResult run_case(const std::string& name, int ranks) {
  const testing::TempDir folder;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  return testing::run_mpirun(folder, "-np " + std::to_string(ranks) + " env TANDEM_ALLOCATOR=cached " +
                                         testing::shell_quoted(self) +
                                         " --no-skip --test-case=" + testing::shell_quoted(name));
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// Checks that all ranks of the case find nothing wrong.
void check_case(const std::string& name, int ranks) {
  const testing::ProcessResult result = run_case(name, ranks);
  CAPTURE(result.output);
  CHECK(result.code == 0);
  CHECK(count(result.output, "all is well") == static_cast<size_t>(ranks));
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
  for (const int ranks : {2, 3, 4}) check_case("nccl rank: data", ranks);
}

// Every rank calls something, and all must learn the same of it.
TEST_CASE("nccl rank: mismatch" * doctest::skip()) {
  as_rank([](const std::shared_ptr<Ranks>& ranks) {
    const int self = ranks->rank();
    const DeviceArray<float> x(Values{1, 2, 3}), y(Values{0, 0, 0});
    const auto text_of = [&](const auto& f) {
      Communicator comm(0, ranks);
      require(nccl_api().ncclGroupStart() == ncclSuccess, "ncclGroupStart");
      f(comm);
      require(nccl_api().ncclGroupEnd() == ncclInProgress, "ncclGroupEnd");
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
      require(
          nccl_api().ncclSend(x.data(), elements, ncclFloat32, peer, comm, compute_stream()) == ncclSuccess,
          "send");
    };
    const auto receive = [&](ncclComm_t comm, size_t elements, int peer, ncclDataType_t type = ncclFloat32) {
      require(nccl_api().ncclRecv(y.data(), elements, type, peer, comm, compute_stream()) == ncclSuccess,
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
               require(nccl_api().ncclAllReduce(x.data(), y.data(), self == 1 ? 2 : 3, ncclFloat32, ncclSum,
                                                comm, compute_stream()) == ncclSuccess,
                       "all-reduce");
             }),
             zero + " reduces 3 ncclFloat32, " + one + (missing ? " nothing" : " 2 ncclFloat32"));
    // Unique ids of their own.
    ncclUniqueId id{};
    ncclComm_t comm = nullptr;
    require(nccl_api().ncclGetUniqueId(&id) == ncclSuccess, "ncclGetUniqueId");
    require(nccl_api().ncclCommInitRankConfig(&comm, ranks->size(), id, self, nullptr) == ncclInvalidUsage,
            "ids");
    expect(nccl_api().ncclGetLastError(comm), "have different unique ids");
  });
}

TEST_CASE("nccl stand-in: calls of ranks that do not fit together are told to all, instead of a hang") {
  if (!testing::has_mpirun()) return;
  check_case("nccl rank: mismatch", 3);
}

// A step is three graphs with an exchange behind each; while the backward pass goes on, so many buckets are exchanged early,
// and the first graph is cut so often. The losses and weights are those of one rank without graphs.
void check_graphs(const std::shared_ptr<Ranks>& ranks, const std::string& optimizer, BucketBytes bytes,
                  uint64_t early, uint64_t cuts) {
  const std::string what = optimizer + " with " + std::to_string(early) + " buckets begun early: ";
  RunConfig config = testing::run_by(optimizer);
  config.recipe.shards = 4;
  config.recipe.batch_size = 4;
  config.recipe.accumulate = early == 0 ? 1 : 2;
  config.precision = "f32";
  const Vocabulary vocabulary = Vocabulary::of(testing::sample_text());
  const Tokens text(testing::sample_text(), vocabulary);
  Trainer alone(config, text, vocabulary, Device::cuda());
  alone.use_graph(false);
  Trainer trainer(config, text, vocabulary, Device::cuda(), ranks);
  trainer.set_bucket_bytes(bytes);
  require(trainer.transport().way().starts_with("by NCCL "), trainer.transport().way());
  const uint64_t parts =
      optimizer == "muon" ? 1 : 3;  // with Muon every rank makes the whole update, and sends nothing
  int captured = 0;
  for (int step = 1; step <= 34; ++step) {  // epochs begin meanwhile
    const double expected = alone.step().loss;
    simulator::reset_statistics();
    require(trainer.step().loss == expected, what + "the loss of step " + std::to_string(step));
    require(simulator::statistics().nccl_groups == parts + early + (parts == 1 ? 1 : 0),
            what + "groups: " + std::to_string(simulator::statistics().nccl_groups));
    const uint64_t graphs = simulator::statistics().graph_launches, all = cuts + (parts == 1 ? 2 : 3);
    require(graphs == 0 || graphs == all, what + "graphs of a step: " + std::to_string(graphs));
    captured += graphs == all;
    if (step == 20) trainer.restore(broadcast_checkpoint(*ranks, trainer.checkpoint()));
  }
  require(captured > 12, what + "steps in graphs: " + std::to_string(captured));
  require(trainer.uses_graph() && trainer.graph_refusal().empty(), trainer.graph_refusal());
  const Checkpoint mine = trainer.weights(), theirs = alone.weights();
  for (size_t i = 0; i < mine.parameters.size(); ++i)
    require(testing::same_bits(mine.parameters[i].value, theirs.parameters[i].value),
            what + mine.parameters[i].name);
}

TEST_CASE("nccl rank: graphs" * doctest::skip()) {
  as_rank([](const std::shared_ptr<Ranks>& ranks) {
    compute_stream();  // is the first
    for (const simulator::Streams streams :
         {simulator::Streams::first_ahead, simulator::Streams::first_behind}) {
      simulator::set_streams(streams);
      check_graphs(ranks, "radam", {}, 0, 0);
      check_graphs(ranks, "radam", {.last = 1, .other = 1}, 18, 18);
      check_graphs(ranks, "muon", {.last = 1000, .other = 4000}, 5, 5);
    }
  });
}

TEST_CASE("nccl stand-in: steps of ranks are graphs with exchanges between them, to the bits of one rank") {
  if (!testing::has_mpirun()) return;
  for (const int ranks : {2, 3}) check_case("nccl rank: graphs", ranks);
}

// The bucket goes on its way beside what comes after it, which must not change what is sent; what is received waits for
// join().
TEST_CASE("nccl rank: beside" * doctest::skip()) {
  as_rank([](const std::shared_ptr<Ranks>& ranks) {
    compute_stream();  // is the first
    const int n = ranks->size(), self = ranks->rank(), next = (self + 1) % n, former = (self + n - 1) % n;
    for (const simulator::Streams streams :
         {simulator::Streams::first_ahead, simulator::Streams::first_behind}) {
      simulator::set_streams(streams);
      const std::unique_ptr<Transport> transport = make_transport(Device::cuda(), ranks);
      for (int round = 0; round < 3; ++round) {
        const Tensor sent = full({5}, -1, DType::f32, Device::cuda()),
                     got = full({5}, -2, DType::f32, Device::cuda());
        tandem::fill(sent, 10 * self + round);  // is enqueued: the exchange must wait for it
        const Transport::Message to{next, sent.raw(), sent.nbytes()}, from{former, got.raw(), got.nbytes()};
        transport->exchange_beside(std::span(&to, 1), std::span(&from, 1));
        const Tensor other = full({5}, 1, DType::f32, Device::cuda());
        transport->join();
        tandem::add_in_place(other, got);
        transport->await();
        for (const float value : other.to_vector<float>())
          require(value == static_cast<float>(10 * former + round + 1), "round " + std::to_string(round));
      }
      ranks->largest(0);
    }
  });
}

TEST_CASE(
    "nccl stand-in: an exchange beside the compute stream waits for what is before it, and join() for it") {
  if (!testing::has_mpirun()) return;
  check_case("nccl rank: beside", 3);
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
  const testing::ProcessResult result = run_case("nccl rank: absence", 2);
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
