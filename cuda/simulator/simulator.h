// The interface by which tests control the simulated GPU and inspect it: the order of threads, the memory, the
// last failure, counts of what ran.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace tandem::simulator {

// The order of the threads within a block and of the blocks within a grid. A result that depends on it is a
// missing barrier. The environment variable TANDEM_SIMULATOR_ORDER=forward|reverse|shuffled chooses the
// first.
enum class Order { forward, reverse, shuffled };
void set_order(Order order, uint64_t seed = 0);
Order order();

// Which streams run their work at once, and which as late as what waits for it allows; both are legal on a
// GPU. The first created (Tandem's compute stream) is the one that is at once or late; all others are the
// opposite. The environment variable TANDEM_SIMULATOR_STREAMS=first_ahead|first_behind chooses at the start.
enum class Streams { first_ahead, first_behind };
void set_streams(Streams streams);
Streams streams();

// Calls f() in forward, reverse and four shuffled orders, and with either choice of streams; then restores
// both.
template <class F>
void for_each_order(F&& f) {
  const Order old_order = order();
  const Streams old_streams = streams();
  for (const Streams s : {Streams::first_ahead, Streams::first_behind}) {
    set_streams(s);
    set_order(Order::forward), f();
    set_order(Order::reverse), f();
    for (uint64_t seed = 1; seed <= 4; ++seed) set_order(Order::shuffled, seed), f();
  }
  set_order(old_order);
  set_streams(old_streams);
}

// Chooses whether cuBLASLt's products are computed, or leave zeros at once: a program that counts what kernels do does not
// need the values.
enum class Products { computed, zeros };
void set_products(Products products);

// The device's memory in bytes, 4 GiB at the start: cudaMalloc beyond it fails with
// cudaErrorMemoryAllocation.
void set_memory(size_t bytes);

// The long text of the last failure of a kernel or of a guard: kernel, block, threads, bytes.
std::string last_message();

// As on a GPU, a failed kernel or a damaged guard makes every later call fail. This forgets it; a GPU's
// process would have to end. Pending work of all streams is dropped.
void clear_error();

// Looks at the guards around every cudaMalloc now: what is damaged, or an empty text. Under AddressSanitizer
// there are no guards: it reports the write itself.
std::string check_guards();

struct Statistics {
  uint64_t launches = 0;
  uint64_t profiled = 0;  // launches between cudaProfilerStart and cudaProfilerStop
  uint64_t blocks = 0;
  uint64_t barriers = 0;  // of blocks, and of warps
  uint64_t mallocs = 0;   // cudaMalloc and cudaMallocHost
  uint64_t matmuls = 0;
  uint64_t odd_matmuls = 0;  // those with a leading dimension that is no multiple of 16 bytes
  uint64_t graph_launches = 0;
  uint64_t nccl_groups = 0;  // groups of NCCL's calls that were done; a call outside of a group is one
};
Statistics statistics();
void reset_statistics();

}  // namespace tandem::simulator
