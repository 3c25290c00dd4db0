// Runs grids: blocks one after the other, the threads of a block as fibers that stop at barriers and warp
// operations. Within a block, a warp runs as far as it can before another starts, and so does a lane within
// its warp: what one thread reads of another without a barrier between is then stale in one order or another.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "fiber.h"
#include "internal.h"
#include "observer.h"
#include "order.h"
#include "shared_memory.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace tandem::simulator {
namespace {

enum class State : uint8_t { fresh, ready, at_barrier, in_warp, ended };

struct Thread {
  State state;
  uint3 index;
  Fiber* fiber;
  const char* operation;  // of the warp, while in_warp
  unsigned mask;
  uint64_t value;
};

class Scheduler {
 public:
  cudaError_t run(const Grid& grid);
  void wait_at_barrier();
  const uint64_t* exchange(const char* operation, unsigned mask, uint64_t value, int source);
  int lane() const { return static_cast<int>((current_ - threads_.data()) % warpSize); }

 private:
  static void fiber_body();
  bool run_block();  // whether all threads ended
  void run_lanes(unsigned warp);
  void enter(Thread& thread);
  bool release_warp(unsigned warp);
  void pause(State why);
  void check(const char* operation, unsigned mask, int source);
  void complain(const std::string& text);
  [[noreturn]] void stop();
  std::string where() const;
  std::string stuck() const;
  std::string list(State state) const;

  const Grid* grid_ = nullptr;
  std::vector<Thread> threads_;
  Thread* current_ = nullptr;
  std::vector<unsigned> lanes_;   // the threads of the warp that runs, in their order
  size_t next_ = 0;               // of lanes_
  std::vector<uint64_t> values_;  // per thread: what it gave to its last warp operation
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  std::string failure_;
};

Scheduler& scheduler() {
  static Scheduler* instance = new Scheduler;  // outlives every other static object
  return *instance;
}

std::string text(uint3 v) {
  return "(" + std::to_string(v.x) + ", " + std::to_string(v.y) + ", " + std::to_string(v.z) + ")";
}

// Names of operations; one name may lie at several addresses.
bool same(const char* a, const char* b) {
  return a == b || std::strcmp(a, b) == 0;
}

std::string hex(unsigned mask) {
  char digits[11];
  std::snprintf(digits, sizeof digits, "0x%08x", mask);
  return digits;
}

cudaError_t Scheduler::run(const Grid& grid) {
  grid_ = &grid;
  gridDim = grid.grid;
  blockDim = grid.block;
  threads_.resize(grid.block.x * grid.block.y * grid.block.z);
  values_.resize((threads_.size() + warpSize - 1) / warpSize * warpSize);
  unsigned i = 0;
  for (unsigned z = 0; z < blockDim.z; ++z)
    for (unsigned y = 0; y < blockDim.y; ++y)
      for (unsigned x = 0; x < blockDim.x; ++x) threads_[i++].index = {x, y, z};
  ++counters().launches;
  if (profiling()) ++counters().profiled;
  if (observer()) observer()->begin_launch(grid);

  const size_t blocks = size_t{gridDim.x} * gridDim.y * gridDim.z;
  BlockOrder block_order(blocks);
  failure_.clear();
  for (size_t i = 0; i < blocks && failure_.empty(); ++i) {
    const size_t block = block_order[i];
    blockIdx = {static_cast<unsigned>(block % gridDim.x),
                static_cast<unsigned>(block / gridDim.x % gridDim.y),
                static_cast<unsigned>(block / gridDim.x / gridDim.y)};
    ++counters().blocks;
    start_shared(grid.shared_bytes);
    if (!run_block() && failure_.empty()) failure_ = stuck();
    const std::string damage = check_shared();
    if (failure_.empty() && !damage.empty()) failure_ = damage;
  }
  if (observer()) observer()->end_launch();
  if (failure_.empty()) return cudaSuccess;
  // Fibers that wait for ever are started anew when they are needed.
  idle_.clear();
  for (const auto& fiber : fibers_) idle_.push_back(fiber.get());
  return fail(cudaErrorLaunchFailure, where() + ": " + failure_);
}

bool Scheduler::run_block() {
  for (Thread& thread : threads_) thread.state = State::fresh;
  const unsigned warps = static_cast<unsigned>((threads_.size() + warpSize - 1) / warpSize);
  std::vector<unsigned> active(warps);
  for (;;) {
    active.resize(warps);
    std::iota(active.begin(), active.end(), 0u);
    if (order() == Order::reverse) std::reverse(active.begin(), active.end());
    // In shuffled order warps alternate, from one of their operations to the next.
    while (!active.empty()) {
      const size_t i = order() == Order::shuffled ? random(active.size()) : 0;
      run_lanes(active[i]);
      if (!failure_.empty()) return false;
      if (!release_warp(active[i])) active.erase(active.begin() + static_cast<std::ptrdiff_t>(i));
      if (!failure_.empty()) return false;
    }
    const auto count = [this](State state) {
      return static_cast<size_t>(std::count_if(threads_.begin(), threads_.end(),
                                               [state](const Thread& t) { return t.state == state; }));
    };
    if (count(State::ended) == threads_.size()) return true;
    if (count(State::at_barrier) != threads_.size()) return false;
    ++counters().barriers;
    for (Thread& thread : threads_) thread.state = State::ready;
  }
}

// Runs each lane of the warp that can run until it waits or ends.
void Scheduler::run_lanes(unsigned warp) {
  const unsigned first = warp * warpSize;
  const unsigned count = std::min<unsigned>(warpSize, static_cast<unsigned>(threads_.size()) - first);
  lanes_.resize(count);
  std::iota(lanes_.begin(), lanes_.end(), first);
  arrange(lanes_);
  next_ = 0;
  while (next_ < count && failure_.empty()) {
    Thread& thread = threads_[lanes_[next_]];
    if (thread.state == State::fresh) {
      if (idle_.empty()) idle_.push_back(fibers_.emplace_back(std::make_unique<Fiber>()).get());
      Fiber* fiber = idle_.back();
      idle_.pop_back();
      fiber->start(fiber_body);
      thread.fiber = fiber;
      fiber->resume();
    } else if (thread.state == State::ready) {
      ++next_;
      enter(thread);
      thread.fiber->resume();
    } else {
      ++next_;
    }
  }
  if (observer()) observer()->leave_warp();
}

// From now on, code runs as this thread.
void Scheduler::enter(Thread& thread) {
  current_ = &thread;
  threadIdx = thread.index;
  if (observer()) observer()->enter_lane(lane());
}

// One fiber runs one thread after the other until one of them waits: a kernel without barriers needs one.
void Scheduler::fiber_body() {
  Scheduler& self = scheduler();
  Fiber* fiber = self.threads_[self.lanes_[self.next_]].fiber;
  while (self.next_ < self.lanes_.size() && self.threads_[self.lanes_[self.next_]].state == State::fresh) {
    Thread& thread = self.threads_[self.lanes_[self.next_++]];
    thread.fiber = fiber;
    self.enter(thread);
    self.grid_->thread();
    thread.state = State::ended;
  }
  self.idle_.push_back(fiber);
}

void Scheduler::pause(State why) {
  Thread& thread = *current_;
  if (threads_.size() % warpSize != 0)
    complain("barriers and warp operations need blocks of a multiple of 32 threads here");
  if (!failure_.empty()) stop();
  thread.state = why;
  thread.fiber->pause();
}

void Scheduler::complain(const std::string& text) {
  failure_ = "thread " + simulator::text(current_->index) + ": " + text;
}

// The stack is left as it is: nothing on it may own anything.
void Scheduler::stop() {
  for (;;) current_->fiber->pause();
}

void Scheduler::wait_at_barrier() {
  pause(State::at_barrier);
}

const uint64_t* Scheduler::exchange(const char* operation, unsigned mask, uint64_t value, int source) {
  check(operation, mask, source);
  if (!failure_.empty()) stop();
  Thread& thread = *current_;
  thread.operation = operation;
  thread.mask = mask;
  thread.value = value;
  const ptrdiff_t first = (current_ - threads_.data()) / warpSize * warpSize;
  pause(State::in_warp);
  return values_.data() + first;
}

void Scheduler::check(const char* operation, unsigned mask, int source) {
  const bool has_caller = mask >> lane() & 1, has_source = mask >> source & 1;
  if (has_caller && has_source) return;
  const std::string call = std::string(operation) + " with mask " + hex(mask);
  complain(has_caller ? call + " takes from lane " + std::to_string(source) + ", which the mask lacks"
                      : call + ", which lacks the caller's lane " + std::to_string(lane()));
}

// Lets the lanes go whose operation all lanes of its mask have reached. Whether any lane can run again.
bool Scheduler::release_warp(unsigned warp) {
  const unsigned first = warp * warpSize;
  const unsigned count = std::min<unsigned>(warpSize, static_cast<unsigned>(threads_.size()) - first);
  bool released = false;
  for (unsigned i = 0; i < count; ++i) {
    const Thread& leader = threads_[first + i];
    if (leader.state != State::in_warp) continue;
    bool complete = true;
    for (unsigned j = 0; j < count && complete; ++j)
      if (leader.mask >> j & 1) {
        const Thread& thread = threads_[first + j];
        complete = thread.state == State::in_warp && thread.mask == leader.mask &&
                   same(thread.operation, leader.operation);
      }
    if (!complete) continue;
    const unsigned mask = leader.mask;
    for (unsigned j = 0; j < count; ++j)
      if (mask >> j & 1) {
        values_[first + j] = threads_[first + j].value;
        threads_[first + j].state = State::ready;
      }
    ++counters().barriers;
    released = true;
  }
  return released;
}

std::string Scheduler::where() const {
  return "kernel " + kernel_name(grid_->function, *grid_->signature) + ", block " + text(blockIdx) + " of " +
         text(gridDim) + " blocks of " + text(blockDim) + " threads";
}

// "31 threads in __shfl_xor_sync, the first (0, 0, 0)", for those in one state.
std::string Scheduler::list(State state) const {
  size_t count = 0;
  const Thread* first = nullptr;
  for (const Thread& thread : threads_)
    if (thread.state == state) {
      if (!first) first = &thread;
      ++count;
    }
  if (!first) return "";
  std::string what = state == State::ended ? "ended" : "wait at __syncthreads";
  if (state == State::in_warp)
    what = std::string("wait in a warp operation (") + first->operation + ", mask " + hex(first->mask) + ")";
  return "; " + std::to_string(count) + " " + what + ", first " + text(first->index);
}

std::string Scheduler::stuck() const {
  return "its threads wait for ever for others that ended or wait elsewhere" + list(State::at_barrier) +
         list(State::in_warp) + list(State::ended);
}

}  // namespace

Observer*& observer() {
  static Observer* instance = nullptr;
  return instance;
}

cudaError_t run(const Grid& grid) {
  return scheduler().run(grid);
}
void barrier() {
  scheduler().wait_at_barrier();
}
const uint64_t* exchange(const char* operation, unsigned mask, uint64_t value, int source) {
  return scheduler().exchange(operation, mask, value, source);
}
int lane() {
  return scheduler().lane();
}

}  // namespace tandem::simulator
