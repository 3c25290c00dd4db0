// The host's memory source under several threads, and the allocator of each device.
#include "tandem/core/host_memory.h"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "tandem/core/backend.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/storage.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/fake_memory.h"
#include "tests/support/files.h"

namespace tandem::testing {

TEST_CASE("host memory: blocks are writable, aligned, limited, and usable by several threads") {
  HostMemory source(/*visible_to_sanitizers=*/false, 600 * kMiB);
  CachingAllocator allocator(source);
  std::vector<std::thread> threads;
  std::vector<int> damaged(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &allocator, &damaged] {
      std::mt19937 random(t);
      std::vector<std::pair<unsigned char*, size_t>> blocks;
      for (int step = 0; step < 2000; ++step) {
        if (blocks.size() < 20) {
          const size_t bytes = random() % 10 == 0 ? 2 * kMiB + random() % kMiB : 1 + random() % 3000;
          auto* block = static_cast<unsigned char*>(allocator.allocate(bytes, 0));
          damaged[t] += reinterpret_cast<uintptr_t>(block) % 512 != 0;
          block[0] = block[bytes - 1] = static_cast<unsigned char>(t);
          blocks.emplace_back(block, bytes);
        } else {
          std::swap(blocks[random() % blocks.size()], blocks.back());
          const auto [block, bytes] = blocks.back();
          damaged[t] += block[0] != t || block[bytes - 1] != t;
          allocator.free(block);
          blocks.pop_back();
        }
      }
      for (const auto& [block, bytes] : blocks) allocator.free(block);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(damaged == std::vector<int>{0, 0, 0, 0});
  CHECK(allocator.statistics().in_use == 0);
  CHECK(allocator.statistics().allocations > 4000);
  CHECK_THROWS_AS(allocator.allocate(601 * kMiB, 0), OutOfMemory);
}

TEST_CASE("host memory: the ends of a mapping are unmapped, and poison is NaN") {
  HostMemory source(/*visible_to_sanitizers=*/false, 64 * kMiB);
  for (size_t bytes : {2 * kMiB, 6 * kMiB, size_t{777}}) {
    auto* data = static_cast<char*>(source.acquire(bytes));
    REQUIRE(data != nullptr);
    CHECK(reinterpret_cast<uintptr_t>(data) % (bytes % (2 * kMiB) == 0 ? 2 * kMiB : 512) == 0);
    std::memset(data, 1, bytes);
    source.poison(data, bytes, 0);
    float value = 0;
    std::memcpy(&value, data + 8, sizeof value);
    CHECK(value != value);
    source.release(data, bytes);
  }
  CHECK(source.acquire(65 * kMiB) == nullptr);
  CHECK(host_memory_limit() > 100 * kMiB);
}

TEST_CASE("host memory: the smallest limit of the process's control group and of those that hold it counts") {
  const TempDir root;
  const size_t machine = host_memory_limit(root / "nothing");
  CHECK(machine > 100 * kMiB);
  const auto put = [&root](const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root / path).parent_path());
    write_text(root / path, text);
  };
  const auto limit = [&root] { return host_memory_limit(root.path()); };

  put("proc/self/cgroup", "0::/system.slice/slurmd/job_7/step_0\n");
  put("sys/fs/cgroup/system.slice/slurmd/job_7/step_0/memory.max", "max\n");
  CHECK(limit() == machine);
  put("sys/fs/cgroup/system.slice/slurmd/job_7/memory.max", "50000000\n");
  put("sys/fs/cgroup/system.slice/memory.max", "60000000\n");
  CHECK(limit() == 50000000);
  put("sys/fs/cgroup/memory.max", "40000000\n");  // as a container sees its own group
  CHECK(limit() == 40000000);
  put("proc/self/cgroup", "0::/../other\n");
  CHECK(limit() == 40000000);

  put("proc/self/cgroup", "12:cpu,cpuacct:/a\n5:memory:/slurm/uid_0/job_9\n1:name=systemd:/x\n0::/\n");
  put("sys/fs/cgroup/memory.max", "max\n");
  put("sys/fs/cgroup/memory/slurm/uid_0/job_9/memory.limit_in_bytes", "9223372036854771712\n");
  put("sys/fs/cgroup/memory/slurm/uid_0/memory.limit_in_bytes", "30000000\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  CHECK(limit() == 30000000);
  put("proc/self/cgroup", "not a line of this file\n5:memory\n");
  CHECK(limit() == machine);
}

TEST_CASE("allocator_of: the host has one allocator, and a missing device is an error") {
  CHECK(&allocator_of(Device::cpu()) == &host_allocator());
  CHECK(contains(error_of([] { allocator_of(Device::cuda(63)); }), "cuda:63"));
  if constexpr (kWithCuda) {
    if (has_cuda()) CHECK(&allocator_of(Device::cuda()) == &cuda::allocator());
  }
}

}  // namespace tandem::testing
