// The simulator's counts of memory traffic, by kernels whose traffic is known.
#include <doctest/doctest.h>

#include <stdexcept>

#include "tandem/core/array.h"
#include "tandem/cuda/simulator/traffic/traffic.h"
#include "tandem/ops/matmul.h"
#include "tests/cuda/traffic/patterns.h"
#include "tests/support/simulated_device.h"

namespace tandem {
namespace {

using simulator::KernelTraffic;
using simulator::TrafficCount;
using testing::DeviceArray;

constexpr unsigned kThreads = 64;

struct Arrays {
  DeviceArray<float> x{std::vector<float>(4096, 1)}, y{4096};
};

// The traffic of what f launches, which is the same in every order of threads.
template <class F>
KernelTraffic counted(const F& f) {
  std::vector<KernelTraffic> all;
  simulator::for_each_order([&] {
    const TrafficCount count;
    f();
    REQUIRE(count.launches().size() == 1);
    all.push_back(count.launches().front());
  });
  for (const KernelTraffic& one : all) {
    CHECK(one.read.bytes == all[0].read.bytes);
    CHECK(one.read.sectors == all[0].read.sectors);
    CHECK(one.read.distinct == all[0].read.distinct);
    CHECK(one.written.bytes == all[0].written.bytes);
    CHECK(one.written.sectors == all[0].written.sectors);
    CHECK(one.written.distinct == all[0].written.distinct);
    CHECK(one.shared_accesses == all[0].shared_accesses);
    CHECK(one.bank_conflicts == all[0].bank_conflicts);
  }
  return all[0];
}

TEST_CASE("cuda simulator traffic: a coalesced copy reads and writes each byte once, in full sectors") {
  const Arrays a;
  const KernelTraffic copy = counted([&] { testing::copy_strided(a.y.data(), a.x.data(), kThreads, 1); });
  CHECK(copy.name.find("copy_strided_kernel") != std::string::npos);
  CHECK(copy.launches == 1);
  for (const simulator::GlobalTraffic& traffic : {copy.read, copy.written}) {
    CHECK(traffic.bytes == 4 * kThreads);
    CHECK(traffic.sector_bytes() == 4 * kThreads);
    CHECK(traffic.distinct == 4 * kThreads);
  }
  CHECK(copy.shared_accesses == 0);
  CHECK(copy.bank_conflicts == 0);
}

TEST_CASE("cuda simulator traffic: a stride of 8 words costs 8 times the sectors") {
  const Arrays a;
  const KernelTraffic copy = counted([&] { testing::copy_strided(a.y.data(), a.x.data(), kThreads, 8); });
  CHECK(copy.read.bytes == 4 * kThreads);
  CHECK(copy.read.distinct == 4 * kThreads);
  CHECK(copy.read.sector_bytes() == 8 * 4 * kThreads);
  CHECK(copy.written.sector_bytes() == 4 * kThreads);
  // A row that does not begin with a sector costs one sector more for each warp.
  const KernelTraffic shifted =
      counted([&] { testing::copy_strided(a.y.data(), a.x.data() + 1, kThreads, 1); });
  CHECK(shifted.read.sectors == copy.written.sectors + kThreads / 32);
}

TEST_CASE("cuda simulator traffic: what is read twice is asked for twice, and distinct once") {
  const Arrays a;
  const KernelTraffic twice = counted([&] { testing::read_twice(a.y.data(), a.x.data(), kThreads); });
  CHECK(twice.read.bytes == 2 * 4 * kThreads);
  CHECK(twice.read.sector_bytes() == 2 * 4 * kThreads);
  CHECK(twice.read.distinct == 4 * kThreads);
  CHECK(twice.written.bytes == 4 * kThreads);
}

TEST_CASE("cuda simulator traffic: a warp that reads one word touches one sector") {
  const Arrays a;
  const KernelTraffic one = counted([&] { testing::read_one(a.y.data(), a.x.data(), kThreads); });
  CHECK(one.read.bytes == 4 * kThreads);
  CHECK(one.read.sectors == kThreads / 32);
  CHECK(one.read.distinct == 4);
}

TEST_CASE("cuda simulator traffic: a vector is one access") {
  const Arrays a;
  const KernelTraffic copy = counted([&] { testing::copy_vectors(a.y.data(), a.x.data(), kThreads); });
  for (const simulator::GlobalTraffic& traffic : {copy.read, copy.written}) {
    CHECK(traffic.bytes == 16 * kThreads);
    CHECK(traffic.sector_bytes() == 16 * kThreads);
    CHECK(traffic.distinct == 16 * kThreads);
  }
}

TEST_CASE("cuda simulator traffic: words of one bank conflict, in static and in dynamic shared memory") {
  const Arrays a;
  for (const bool dynamic : {false, true})
    for (const auto& [stride, conflicts] : {std::pair{1, 0}, {2, 1}, {8, 7}, {31, 0}, {32, 31}, {0, 0}}) {
      CAPTURE(dynamic);
      CAPTURE(stride);
      const KernelTraffic use = counted([&] { testing::use_shared(a.y.data(), stride, dynamic); });
      CHECK(use.shared_accesses == 2);
      CHECK(use.bank_conflicts == 2 * static_cast<uint64_t>(conflicts));
      CHECK(use.read.bytes == 0);
      CHECK(use.written.bytes == 4 * 32);
    }
}

TEST_CASE("cuda simulator traffic: lanes that leave out turns of a loop meet again behind it") {
  const Arrays a;
  const KernelTraffic loop = counted([&] { testing::loop_unevenly(a.y.data(), a.x.data()); });
  CHECK(loop.read.bytes == 4 * 8 * (0 + 1 + 2 + 3) + 4 * 32);
  CHECK(loop.read.sectors == 3 + 1);  // three turns, and what follows
  CHECK(loop.read.distinct == 4 * 4);
}

TEST_CASE("cuda simulator traffic: an atomic operation reads and writes") {
  const DeviceArray<unsigned> counter(std::vector<unsigned>{0});
  const KernelTraffic add = counted([&] { testing::increment(counter.data()); });
  CHECK(add.read.bytes == 4 * 32);
  CHECK(add.written.bytes == 4 * 32);
  CHECK(add.written.distinct == 4);
  CHECK(counter.now()[0] == 12 * 32);  // for_each_order runs it 12 times
}

TEST_CASE("cuda simulator traffic: copies and fills are counted, and launches by name") {
  const Arrays a;
  const TrafficCount count;
  testing::copy_strided(a.y.data(), a.x.data(), kThreads, 1);
  testing::copy_strided(a.y.data(), a.x.data(), kThreads, 2);
  CHECK(cudaMemcpy(a.y.data(), a.x.data(), 320, cudaMemcpyDeviceToDevice) == cudaSuccess);
  CHECK(cudaMemset(a.y.data(), 0, 64) == cudaSuccess);
  a.y.now();
  REQUIRE(count.launches().size() == 5);
  CHECK(count.kernels().size() == 4);
  CHECK(count.sum("copy_strided").launches == 2);
  CHECK(count.sum("copy_strided").read.bytes == 2 * 4 * kThreads);
  CHECK(count.sum("copy_strided").read.sector_bytes() == 3 * 4 * kThreads);
  CHECK(count.sum("copy on the device").read.bytes == 320);
  CHECK(count.sum("copy on the device").written.sectors == 10);
  CHECK(count.sum("fill").written.bytes == 64);
  CHECK(count.sum("copy to host").read.bytes == a.y.bytes());
  CHECK(count.sum().launches == 5);
}

TEST_CASE(
    "cuda simulator traffic: a product reads its operands and writes its result once, also where it is left out") {
  const Tensor a = full({8, 32}, 1, DType::f32, Device::cuda()),
               b = full({32, 16}, 2, DType::f32, Device::cuda());
  for (const auto& [products, value] :
       {std::pair{simulator::Products::computed, 64.0}, {simulator::Products::zeros, 0.0}}) {
    simulator::set_products(products);
    const TrafficCount count;
    const Tensor y = matmul(a, b);
    CHECK(count.sum("product 16x8x32").read.bytes ==
          a.nbytes() + b.nbytes());  // as column-major cuBLASLt sees it
    CHECK(count.sum("product 16x8x32").written.bytes == y.nbytes());
    for (const float element : y.to_vector<float>()) CHECK(element == value);
  }
  simulator::set_products(simulator::Products::computed);
}

TEST_CASE("cuda simulator traffic: nothing is counted without a count, and two at a time are refused") {
  const Arrays a;
  testing::copy_strided(a.y.data(), a.x.data(), kThreads, 1);
  {
    const TrafficCount count;
    CHECK(count.launches().empty());
    CHECK_THROWS_AS(TrafficCount{}, std::logic_error);
    testing::copy_strided(a.y.data(), a.x.data(), kThreads, 1);
    CHECK(count.launches().size() == 1);
  }
  testing::copy_strided(a.y.data(), a.x.data(), kThreads, 1);
  CHECK(TrafficCount().launches().empty());
}

}  // namespace
}  // namespace tandem
