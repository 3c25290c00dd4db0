// Dot products of a few rows with the rows of a weight, and products with its packed panels.
#include "tandem/ops/gemm/few_rows.h"

#include <algorithm>
#include <cstring>

#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/gemm/pack.h"

namespace tandem::cpu {
namespace {

constexpr int64_t kLanes = 16;
constexpr int kStreams = 4;               // rows of the weight that are read at once
constexpr int kTogether = kFewPanelRows;  // rows of x at once: more sums would not fit into registers
constexpr int64_t kBlock = 32;            // rows of the weight per task
constexpr int64_t kAhead = 512;  // distance of the prefetch in elements; it runs on into the next row

using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));
using Words = uint32_t __attribute__((vector_size(kLanes * sizeof(uint32_t))));

TANDEM_INLINE float sum_of(const Lanes& lanes) {
  float parts[kLanes];
  std::memcpy(parts, &lanes, sizeof lanes);
#pragma GCC unroll 4
  for (int64_t width = kLanes / 2; width > 0; width /= 2)
    for (int64_t i = 0; i < width; ++i) parts[i] += parts[i + width];
  return parts[0];
}

// total[r][j] += x_r w_j over kLanes elements, lane by lane.
template <int kRows, int kWeights>
TANDEM_INLINE void add_lanes(Lanes (&total)[kRows][kWeights], const float* x, int64_t ldx, const float* w,
                             int64_t ldw) {
  Lanes in[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) std::memcpy(&in[r], x + r * ldx, sizeof(Lanes));
#pragma GCC unroll 4
  for (int j = 0; j < kWeights; ++j) {
    Lanes weights;
    std::memcpy(&weights, w + j * ldw, sizeof weights);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) total[r][j] += in[r] * weights;
  }
}

// sums[r * ld_sums + j] = x_r . w_j. The order of every sum depends on n alone.
template <int kRows, int kWeights>
TANDEM_INLINE void dots_body(float* sums, int64_t ld_sums, const float* x, int64_t ldx, const float* w,
                             int64_t ldw, int64_t n) {
  Lanes total[kRows][kWeights] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma GCC unroll 4
    for (int j = 0; j < kWeights; ++j) __builtin_prefetch(w + j * ldw + i + kAhead);
    add_lanes(total, x + i, ldx, w + i, ldw);
  }
  if (i < n) {
    float rest_of_x[kRows * kLanes] = {}, rest_of_w[kWeights * kLanes] = {};
    for (int r = 0; r < kRows; ++r) std::copy_n(x + r * ldx + i, n - i, rest_of_x + r * kLanes);
    for (int j = 0; j < kWeights; ++j) std::copy_n(w + j * ldw + i, n - i, rest_of_w + j * kLanes);
    add_lanes(total, rest_of_x, kLanes, rest_of_w, kLanes);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < kWeights; ++j) sums[r * ld_sums + j] = sum_of(total[r][j]);
}

template <int kRows>
TANDEM_INLINE void all_weights_body(float* sums, int64_t ld_sums, const float* x, int64_t ldx, const float* w,
                                    int64_t ldw, int64_t weights, int64_t n) {
  int64_t j = 0;
  for (; j + kStreams <= weights; j += kStreams)
    dots_body<kRows, kStreams>(sums + j, ld_sums, x, ldx, w + j * ldw, ldw, n);
  for (; j < weights; ++j) dots_body<kRows, 1>(sums + j, ld_sums, x, ldx, w + j * ldw, ldw, n);
}

TANDEM_SIMD void dots(float* sums, int64_t ld_sums, const float* x, int64_t ldx, int64_t rows, const float* w,
                      int64_t ldw, int64_t weights, int64_t n) {
  switch (rows) {
    case 1:
      return all_weights_body<1>(sums, ld_sums, x, ldx, w, ldw, weights, n);
    case 2:
      return all_weights_body<2>(sums, ld_sums, x, ldx, w, ldw, weights, n);
    case 3:
      return all_weights_body<3>(sums, ld_sums, x, ldx, w, ldw, weights, n);
    default:
      return all_weights_body<kTogether>(sums, ld_sums, x, ldx, w, ldw, weights, n);
  }
}

// Each 32-bit word of the panel is one column of a row pair, the even row in its low 16 bits.
template <int kRows>
TANDEM_INLINE void panel_body(float* c, const float* left, const bf16* panel, int64_t k) {
  constexpr int kParts = kPackedWidth / kLanes;
  constexpr int64_t kPanelAhead = 2048;
  Lanes total[kRows][kParts] = {};
  for (int64_t i = 0; i < k; i += 2, panel += 2 * kPackedWidth) {
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      const bf16* at = panel + part * 2 * kLanes;
      __builtin_prefetch(at + kPanelAhead);
      Words pairs;
      std::memcpy(&pairs, at, sizeof pairs);
      const Words low = pairs << 16, high = pairs & 0xffff0000u;
      Lanes even, odd;
      std::memcpy(&even, &low, sizeof even);
      std::memcpy(&odd, &high, sizeof odd);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) total[r][part] += even * left[r * k + i] + odd * left[r * k + i + 1];
    }
  }
  for (int r = 0; r < kRows; ++r) std::memcpy(c + r * kPackedWidth, total[r], sizeof total[r]);
}

TANDEM_SIMD void multiply_panel_clones(float* c, const float* left, const bf16* panel, int64_t m, int64_t k) {
  switch (m) {
    case 1:
      return panel_body<1>(c, left, panel, k);
    case 2:
      return panel_body<2>(c, left, panel, k);
    case 3:
      return panel_body<3>(c, left, panel, k);
    default:
      return panel_body<kTogether>(c, left, panel, k);
  }
}

}  // namespace

void multiply_panel(float* c, const float* left, const bf16* panel, int64_t m, int64_t k) {
  multiply_panel_clones(c, left, panel, m, k);
}

void gemm_few_rows(float* c, const float* a, const float* b, const Gemm& p, const float* bias) {
  for_blocks(p.n, kBlock, p.k, [c, a, b, &p, bias](int64_t begin, int64_t end) {
    float sums[kTogether * kBlock];
    for (int64_t i = 0; i < p.m; i += kTogether) {
      const int64_t rows = std::min<int64_t>(kTogether, p.m - i);
      dots(sums, kBlock, a + i * p.lda, p.lda, rows, b + begin * p.ldb, p.ldb, end - begin, p.k);
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t j = begin; j < end; ++j) {
          float& y = c[(i + row) * p.ldc + j];
          y = sums[row * kBlock + j - begin] + (bias ? bias[j] : 0.0f) + (p.accumulate ? y : 0.0f);
        }
    }
  });
}

}  // namespace tandem::cpu
