// What the cases of causal_attention and relative_attention share.
#pragma once
#include <fmt/format.h>

#include <string>

#include "tools/bench/sizes.h"
#include "tools/bench/tuning.h"

namespace tandem {

inline std::string attention_case_name(const BenchSizes& s, int64_t memory) {
  const std::string tuning = tuning_text(attention_tuning());
  return fmt::format("T {}, M {}, B {}, d' {}, {} head{}{}{}", s.unroll, memory, s.batch_size, s.d_projected,
                     s.heads, s.heads == 1 ? "" : "s", tuning.empty() ? "" : ", ", tuning);
}

// Multiplications of one batched product over the pairs of query and key that the causal mask leaves.
inline double attention_product(const BenchSizes& s, int64_t memory) {
  const int64_t T = s.unroll;
  return static_cast<double>(s.batch_size) * static_cast<double>(T * memory + T * (T + 1) / 2) *
         static_cast<double>(s.d_projected);
}

}  // namespace tandem
