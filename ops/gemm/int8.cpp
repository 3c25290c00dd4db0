// Packs 8-bit weights, rounds activations, and multiplies them in blocks.
#include "tandem/ops/gemm/int8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tandem/core/check.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/gemm/onednn.h"
#include "tandem/ops/gemm/pack.h"
#include "tandem/ops/gemm/partition.h"
#include "tandem/ops/support/thread_scratch.h"

namespace tandem {
namespace {

constexpr int64_t kGroup = 4;                   // inputs that one instruction sums
constexpr int64_t kDepthMultiple = 64;          // the inputs are padded with zeros to a multiple of this
constexpr int64_t kRows = 128, kColumns = 512;  // the block of C that a task computes

int64_t depth_of(int64_t in) {
  return round_up(in, kDepthMultiple);
}

// Returns four codes, each less 128, which flips its highest bit.
uint32_t centred(const uint8_t* codes) {
  uint32_t four;
  std::memcpy(&four, codes, sizeof four);
  return four ^ 0x80808080u;
}

// Packs up to 64 rows of codes, of `in` each, as the columns of a panel.
void pack_panel(int8_t* panel, int32_t* sums, const uint8_t* codes, int64_t columns, int64_t in) {
  std::memset(panel, 0, depth_of(in) * cpu::kPackedWidth);
  for (int64_t j = 0; j < columns; ++j, codes += in) {
    for (int64_t k = 0; k < in; k += kGroup) {
      uint8_t tail[kGroup] = {128, 128, 128, 128};
      const int64_t count = std::min(kGroup, in - k);
      std::memcpy(tail, codes + k, count);
      const uint32_t four = centred(tail);
      std::memcpy(panel + k * cpu::kPackedWidth + j * kGroup, &four, sizeof four);
    }
    sums[j] = 0;
    for (int64_t k = 0; k < in; ++k) sums[j] += codes[k] - 128;
  }
}

// The quantization of one row of activations, x = step (q - zero).
struct RowScale {
  float step;
  int32_t zero;
  int32_t sum;  // sum of q - zero over the row
};

// Quantizes a row of n activations into q. If one of them is not finite, the row's step is NaN.
TANDEM_SIMD RowScale round_row(uint8_t* q, const float* x, int64_t n) {
  float lowest = 0, highest = 0, finite = 0;  // the range includes 0, which is represented exactly
#pragma omp simd reduction(min : lowest) reduction(max : highest) reduction(+ : finite)
  for (int64_t i = 0; i < n; ++i) {
    lowest = x[i] < lowest ? x[i] : lowest;
    highest = x[i] > highest ? x[i] : highest;
    finite += x[i] * 0.0f;  // NaN if x[i] is not finite
  }
  const float step = (highest - lowest) / 255.0f;
  if (finite != 0.0f) {
    std::fill_n(q, n, uint8_t{0});
    return {std::numeric_limits<float>::quiet_NaN(), 0, 0};
  }
  const float inverse = step > 0 ? 1.0f / step : 0.0f;
  const float zero = std::floor(-lowest * inverse + 0.5f);
  int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    const float nearest = x[i] * inverse + zero + 0.5f;
    const int32_t code = static_cast<int32_t>(nearest < 255.0f ? nearest : 255.0f);
    q[i] = static_cast<uint8_t>(code);
    sum += code;
  }
  return {step, static_cast<int32_t>(zero), sum - static_cast<int32_t>(zero) * static_cast<int32_t>(n)};
}

// y = the scaled products of one row with n columns, or y += them.
TANDEM_SIMD void finish_row(float* y, const int32_t* products, const int32_t* sums, const RowScale& row,
                            float step, float zero, bool accumulate, int64_t n) {
  const float factor = row.step * step, offset = zero * static_cast<float>(row.sum);
  const int32_t row_zero = row.zero;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const float value = factor * (static_cast<float>(products[j] - row_zero * sums[j]) - offset);
    y[j] = accumulate ? y[j] + value : value;
  }
}

TANDEM_SIMD void multiply_int8_clones(int32_t* c, const uint8_t* left, const int8_t* right, int64_t m,
                                      int64_t n, int64_t k) {
  for (int64_t i = 0; i < m; ++i, left += k) {
    const int8_t* group = right;
    for (int64_t j0 = 0; j0 < n; j0 += cpu::kPackedWidth, c += cpu::kPackedWidth) {
      int32_t sums[cpu::kPackedWidth] = {};
      for (int64_t l = 0; l < k; l += kGroup, group += kGroup * cpu::kPackedWidth) {
#pragma omp simd
        for (int64_t j = 0; j < cpu::kPackedWidth; ++j)
          sums[j] += left[l] * group[kGroup * j] + left[l + 1] * group[kGroup * j + 1] +
                     left[l + 2] * group[kGroup * j + 2] + left[l + 3] * group[kGroup * j + 3];
      }
      std::copy_n(sums, cpu::kPackedWidth, c);
    }
  }
}

}  // namespace

Int8Weight::Int8Weight(const Tensor& codes, float step, float zero) : step(step), zero(zero - 128) {
  TANDEM_CHECK(codes.dtype() == DType::u8 && codes.rank() == 2 && codes.device().is_cpu(),
               "int8: codes are {}; they must be u8 (out, in) on the CPU", codes.summary());
  TANDEM_CHECK(codes.size(1) <= 1 << 16, "int8: {} inputs; sums of more than 65,536 may not fit into 32 bits",
               codes.size(1));
  out = codes.size(0);
  in = codes.size(1);
  packed = Tensor({cpu::packed_width(out), depth_of(in)}, DType::u8);
  sums.resize(static_cast<size_t>(out));
  int8_t* const panels = static_cast<int8_t*>(packed.raw());
  cpu::for_blocks(out, cpu::kPackedWidth, in, [this, panels, &codes](int64_t begin, int64_t end) {
    pack_panel(panels + begin * depth_of(in), sums.data() + begin, codes.data<uint8_t>() + begin * in,
               end - begin, in);
  });
}

namespace cpu {

void multiply_int8(int32_t* c, const uint8_t* left, const int8_t* right, int64_t m, int64_t n, int64_t k) {
  multiply_int8_clones(c, left, right, m, n, k);
}

void gemm_int8(float* c, const float* a, const Gemm& p, const Int8Weight& weight, const float* bias) {
  const int64_t in = weight.in, out = weight.out, depth = depth_of(in);
  const int64_t down = (p.m + kRows - 1) / kRows, across = (out + kColumns - 1) / kColumns;
  const Storage rounded(p.m * depth, Device::cpu());
  uint8_t* const left = static_cast<uint8_t*>(rounded.data());
  const int8_t* const right = static_cast<const int8_t*>(weight.packed.raw());
  std::vector<RowScale> scales(static_cast<size_t>(p.m));
  const bool parallel = worth_threads(p);
  const int64_t tile = std::min(p.m, kRows) * std::min(packed_width(out), kColumns);
  const ThreadScratch tiles(tile * sizeof(int32_t), parallel);
  parallel_for(p.m, parallel, [&](int64_t i) {
    scales[i] = round_row(left + i * depth, a + i * p.lda, in);
    std::fill(left + i * depth + in, left + (i + 1) * depth, uint8_t{0});
  });
  parallel_for(down * across, parallel, [&](int64_t task) {
    const SingleThreaded single;
    int32_t* const products = tiles.own<int32_t>();
    const int64_t i = task / across * kRows, j = task % across * kColumns;
    const int64_t m = std::min(kRows, p.m - i), n = std::min(kColumns, out - j), width = packed_width(n);
    const auto multiply = onednn_has_int8() ? onednn_multiply_int8 : multiply_int8;
    multiply(products, left + i * depth, right + j * depth, m, width, depth);
    for (int64_t row = 0; row < m; ++row) {
      float* const target = c + (i + row) * p.ldc + j;
      finish_row(target, products + row * width, weight.sums.data() + j, scales[i + row], weight.step,
                 weight.zero, p.accumulate, n);
      if (bias) add_to_row(target, bias + j, n);
    }
  });
}

}  // namespace cpu
}  // namespace tandem
