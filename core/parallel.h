// Loops of CPU kernels over elements or rows. They are cut into fixed blocks, which the threads share if there is
// enough work. The cuts do not depend on the number of threads, so neither does any result.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

namespace tandem {

// Minimum number of elements for which a loop runs on several threads, as in
// `#pragma omp parallel for if (n > kParallelGrain)`.
inline constexpr int64_t kParallelGrain = 1 << 15;

// Carries an exception out of a parallel region: one that leaves it otherwise ends the process. Every region whose body
// can throw, for want of memory too, runs its tasks through run() and ends with rethrow():
//
//     ParallelErrors errors;
//     #pragma omp parallel for
//     for (int64_t i = 0; i < n; ++i) errors.run([&] { work(i); });
//     errors.rethrow();
class ParallelErrors {
 public:
  // Calls f() and keeps what it throws. Once something was thrown, further tasks do nothing.
  template <class F>
  void run(const F& f) noexcept {
    if (failed_.load(std::memory_order_relaxed)) return;
    try {
      f();
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
  }

  // Throws the first exception again, if there was one. Call it behind the region.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::atomic<bool> failed_ = false;
  std::exception_ptr error_;
};

}  // namespace tandem

namespace tandem::cpu {

// Calls f(i) for every i of 0..count-1, on several threads if `parallel`. What f throws, the caller gets.
template <class F>
void parallel_for(int64_t count, bool parallel, const F& f) {
  ParallelErrors errors;
#pragma omp parallel for schedule(static) if (parallel)
  for (int64_t i = 0; i < count; ++i) errors.run([&f, i] { f(i); });
  errors.rethrow();
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
