// Loops of CPU kernels over elements or rows. They are cut into fixed blocks, which the threads share if there is
// enough work. The cuts do not depend on the number of threads, so neither does any result.
#pragma once
#include <algorithm>
#include <cstdint>

namespace tandem {

// Minimum number of elements for which a loop runs on several threads, as in
// `#pragma omp parallel for if (n > kParallelGrain)`.
inline constexpr int64_t kParallelGrain = 1 << 15;

}  // namespace tandem

namespace tandem::cpu {

// Calls f(begin, end) for every block of `block` items of 0..count-1. `work` is the cost of an item, in elements.
// f must not throw.
template <class F>
void for_blocks(int64_t count, int64_t block, int64_t work, const F& f) {
  const int64_t blocks = (count + block - 1) / block;
#pragma omp parallel for schedule(static) if (blocks > 1 && count * work > kParallelGrain)
  for (int64_t b = 0; b < blocks; ++b) f(b * block, std::min(count, (b + 1) * block));
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
