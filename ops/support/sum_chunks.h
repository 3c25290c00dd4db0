// Chunks of rows, for sums over all rows that several threads form.
#pragma once
#include <algorithm>
#include <cstdint>

namespace tandem {

// Cuts rows into at most 64 chunks. Each chunk has sums of its own, which are added in the order of the chunks. The cut
// depends on the number of rows only, so the result does not depend on the number of threads.
struct SumChunks {
  int64_t rows;  // of a chunk
  int64_t count;

  explicit SumChunks(int64_t all_rows)
      : rows(std::max<int64_t>(16, (all_rows + 63) / 64)), count((all_rows + rows - 1) / rows) {}
};

}  // namespace tandem
