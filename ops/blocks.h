// Loops of CPU kernels over elements or rows: cut into fixed blocks, shared out over cores when there is
// enough work.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/parallel.h"

namespace tandem::cpu {

// f(begin, end) for every block of `block` items of 0..count-1; `work` is what one item costs, in elements.
// The cuts do not depend on the number of threads, so neither does any result. f must not throw.
template <class F>
void for_blocks(int64_t count, int64_t block, int64_t work, const F& f) {
  const int64_t blocks = (count + block - 1) / block;
#pragma omp parallel for schedule(static) if (blocks > 1 && count * work > kParallelGrain)
  for (int64_t b = 0; b < blocks; ++b) f(b * block, std::min(count, (b + 1) * block));
}

// The same over single elements.
template <class F>
void for_elements(int64_t count, const F& f) {
  for_blocks(count, 1 << 13, 1, f);
}

// The same over rows of `width` elements: as many rows a block as make it worth a thread's while.
template <class F>
void for_rows(int64_t rows, int64_t width, const F& f) {
  for_blocks(rows, std::max<int64_t>(1, (1 << 13) / std::max<int64_t>(1, width)), width, f);
}

}  // namespace tandem::cpu
