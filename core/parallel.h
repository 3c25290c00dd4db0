// Loops of CPU kernels over elements, rows or tasks, which the threads share if there is enough work. They are cut into
// fixed blocks. The cuts do not depend on the number of threads, so neither does any result.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

#include "tandem/core/thread_pool.h"

namespace tandem {

// Minimum number of elements for which a loop is shared by several threads.
inline constexpr int64_t kParallelGrain = 1 << 15;

}  // namespace tandem

namespace tandem::cpu {

// Returns the number of threads that share loops: OMP_NUM_THREADS, what omp_set_num_threads() was given, or the number of
// cores.
int max_threads();

// Returns the position of the calling thread among those that share its innermost loop: 0 .. max_threads() - 1. Memory
// that each thread has for itself is found by it.
inline int thread_index() {
  return ThreadPool::thread_index();
}

// Calls f(i) for every i of 0 .. count - 1, on several threads if `parallel`. Which thread does which i depends on the load
// of the machine. A loop within a loop is done by the thread that reaches it. What f throws, the caller gets; after that,
// some i may have been left out.
template <class F>
void parallel_for(int64_t count, bool parallel, const F& f) {
  if (!parallel || count <= 1) {
    if (!ThreadPool::in_task()) {
      for (int64_t i = 0; i < count; ++i) f(i);
      return;
    }
    parallel = false;
  }
  struct Body {
    const F& f;
    std::atomic<bool> failed = false;
    std::exception_ptr error = nullptr;
  } body{f};
  const auto run = [](void* pointer, int64_t begin, int64_t end) {
    Body& loop = *static_cast<Body*>(pointer);
    if (loop.failed.load(std::memory_order_relaxed)) return;
    try {
      for (int64_t i = begin; i < end; ++i) loop.f(i);
    } catch (...) {
      if (!loop.failed.exchange(true)) loop.error = std::current_exception();
    }
  };
  ThreadPool::instance().run(count, parallel ? max_threads() : 1, run, &body);
  if (body.error) std::rethrow_exception(body.error);
}

// Calls f(begin, end) for every block of `block` items of 0..count-1. `work` is the cost of an item, in elements. What f
// throws, the caller gets.
template <class F>
void for_blocks(int64_t count, int64_t block, int64_t work, const F& f) {
  const int64_t blocks = (count + block - 1) / block;
  parallel_for(blocks, blocks > 1 && count * work > kParallelGrain,
               [&f, count, block](int64_t b) { f(b * block, std::min(count, (b + 1) * block)); });
}

// Calls f(begin, end) for blocks of single elements.
template <class F>
void for_elements(int64_t count, const F& f) {
  for_blocks(count, 1 << 13, 1, f);
}

// Calls f(begin, end) for blocks of rows of `width` elements; a block has about 8192 elements, at least one row.
template <class F>
void for_rows(int64_t rows, int64_t width, const F& f) {
  for_blocks(rows, std::max<int64_t>(1, (1 << 13) / std::max<int64_t>(1, width)), width, f);
}

}  // namespace tandem::cpu
