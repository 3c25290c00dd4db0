// Packs a weight in bf16, and multiplies by it: the threads share its panels.
#include "tandem/ops/gemm/bf16_weight.h"

#include <algorithm>
#include <type_traits>

#include "tandem/core/check.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/gemm/few_rows.h"
#include "tandem/ops/gemm/log.h"
#include "tandem/ops/gemm/onednn.h"
#include "tandem/ops/gemm/pack.h"
#include "tandem/ops/gemm/partition.h"
#include "tandem/ops/gemm/round_bf16.h"
#include "tandem/ops/support/thread_scratch.h"

namespace tandem {

Bf16Weight::Bf16Weight(const Tensor& weight) {
  TANDEM_CHECK(weight.dtype() == DType::f32 && weight.rank() == 2 && weight.device().is_cpu(),
               "bf16 weight: got {}; it must be f32 (out, in) on the CPU", weight.summary());
  out = weight.size(0);
  in = weight.size(1);
  packed = Tensor({cpu::packed_width(out), cpu::packed_depth(in)}, DType::bf16);
  cpu::for_blocks(out, cpu::kPackedWidth, in, [this, &weight](int64_t begin, int64_t end) {
    cpu::pack_right(packed.data<bf16>() + begin * cpu::packed_depth(in), weight.data<float>() + begin * in,
                    in, true, in, end - begin);
  });
}

namespace cpu {
namespace {

constexpr int64_t kPanels = 4;  // panels per task when oneDNN multiplies

template <class C>
void multiply(C* c, const float* a, const Gemm& p, const Bf16Weight& weight, const float* bias) {
  TANDEM_CHECK(
      p.m <= kMostKeptRows && p.n == weight.out && p.k == weight.in && p.transpose_b && !p.transpose_a,
      "gemm: ({}, {}) by a bf16 weight ({}, {}); at most {} rows of its inputs", p.m, p.k, weight.out,
      weight.in, kMostKeptRows);
  if (p.m == 0 || p.n == 0) return;
  note_gemm({p.m, p.n, p.k, false, true, p.accumulate, DType::bf16, false, 1});
  const bool few = p.m <= kFewPanelRows, parallel = p.n * p.k > kParallelGrain;
  const int64_t depth = packed_depth(p.k), columns = (few ? 1 : kPanels) * kPackedWidth;
  const Storage rounded(p.m * depth * sizeof(bf16), Device::cpu());
  bf16* const left = static_cast<bf16*>(rounded.data());
  pack_left(left, a, p.lda, false, p.m, p.k);
  const Storage wide(few ? p.m * depth * sizeof(float) : 0, Device::cpu());
  float* const widened = static_cast<float*>(wide.data());
  for (int64_t i = 0; i < p.m * depth && few; ++i) widened[i] = left[i];
  const ThreadScratch tiles(p.m * columns * sizeof(float), parallel);
  const bf16* const right = weight.packed.data<bf16>();
  const int64_t tasks = (p.n + columns - 1) / columns;
  parallel_for(tasks, parallel, [&](int64_t task) {
    const SingleThreaded single;
    float* const tile = tiles.own<float>();
    const int64_t j = task * columns, n = std::min(columns, p.n - j), width = packed_width(n);
    if (few)
      multiply_panel(tile, widened, right + j * depth, p.m, depth);
    else
      onednn_multiply_packed(tile, left, right + j * depth, p.m, width, depth, false);
    for (int64_t row = 0; row < p.m; ++row) {
      C* const y = c + row * p.ldc + j;
      float* const x = tile + row * width;
      if constexpr (std::is_same_v<C, float>)
        write_row(y, x, n, bias ? bias + j : nullptr, p.accumulate);
      else
        round_to_bf16(y, x, n);
    }
  });
}

}  // namespace

void gemm_bf16_weight(float* c, const float* a, const Gemm& p, const Bf16Weight& weight, const float* bias) {
  multiply(c, a, p, weight, bias);
}

void gemm_bf16_weight(bf16* c, const float* a, const Gemm& p, const Bf16Weight& weight) {
  TANDEM_CHECK(!p.accumulate, "gemm: a result in bf16 cannot be accumulated to");
  multiply(c, a, p, weight, nullptr);
}

}  // namespace cpu
}  // namespace tandem
