// Packing: rounding, interleaving of row pairs, and transposition in 16 x 16 tiles of pairs.
#include "tandem/ops/gemm/pack.h"

#include <algorithm>
#include <cstring>

#include "tandem/core/macros.h"
#include "tandem/core/streaming.h"
#include "tandem/ops/gemm/round_bf16.h"

namespace tandem::cpu {
namespace {

// Two bf16 values that the matrix units read as one element; the even row is in the low 16 bits.
using Pair = uint32_t;
constexpr int64_t kTile = 16;

void round_row(bf16* out, const float* x, int64_t n) {
  round_to_bf16(out, x, n);
}
void round_row(bf16* out, const bf16* x, int64_t n) {
  std::memcpy(out, x, n * sizeof(bf16));
}

void pair_rows(Pair* out, const float* even, const float* odd, int64_t n) {
  round_pairs(out, even, odd, n);
}
TANDEM_SIMD void pair_rows(Pair* out, const bf16* even, const bf16* odd, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = even[i].bits | uint32_t{odd[i].bits} << 16;
}

template <class T>
void pair_last_row(Pair* out, const T* even, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = bf16(even[i]).bits;
}

// Writes `pairs` rows of `out`, row r from rows 2r and 2r + 1 of x (k, n). Writes zeros beyond row k of x
// and, up to `width` columns, beyond column n.
template <class T>
void pair_all(Pair* out, int64_t ld_out, const T* x, int64_t ldx, int64_t k, int64_t n, int64_t pairs,
              int64_t width) {
  for (int64_t r = 0; r < pairs; ++r, out += ld_out) {
    const T* even = x + 2 * r * ldx;
    if (2 * r + 1 < k)
      pair_rows(out, even, even + ldx, n);
    else if (2 * r < k)
      pair_last_row(out, even, n);
    else
      std::fill_n(out, n, Pair{0});
    std::fill(out + n, out + width, Pair{0});
  }
}

using Lanes = Pair __attribute__((vector_size(kTile * sizeof(Pair))));

// Swaps the off-diagonal quarters, of side kSide, of every square of side 2 * kSide. Four such steps, with
// sides 8, 4, 2 and 1, transpose the tile.
template <int kSide, int... kLane>
TANDEM_INLINE void swap_quarters(Lanes* rows, std::integer_sequence<int, kLane...>) {
#pragma GCC unroll 16
  for (int i = 0; i < kTile; ++i) {
    if (i & kSide) continue;
    const Lanes upper = rows[i], lower = rows[i + kSide];
    rows[i] = __builtin_shufflevector(upper, lower, ((kLane & kSide) ? kTile + kLane - kSide : kLane)...);
    rows[i + kSide] =
        __builtin_shufflevector(upper, lower, ((kLane & kSide) ? kTile + kLane : kLane + kSide)...);
  }
}

TANDEM_SIMD void transpose_tile(Pair* out, int64_t ld_out, const Pair* in, int64_t ld_in) {
  Lanes rows[kTile];
#pragma GCC unroll 16
  for (int i = 0; i < kTile; ++i) std::memcpy(&rows[i], in + i * ld_in, sizeof(Lanes));
  constexpr auto kLanes = std::make_integer_sequence<int, kTile>();
  swap_quarters<8>(rows, kLanes);
  swap_quarters<4>(rows, kLanes);
  swap_quarters<2>(rows, kLanes);
  swap_quarters<1>(rows, kLanes);
#pragma GCC unroll 16
  for (int i = 0; i < kTile; ++i) std::memcpy(out + i * ld_out, &rows[i], sizeof(Lanes));
}

constexpr int64_t kPrefetchRows = 8;

// Packs a left operand that is stored transposed: pairs up stored rows, 16 pairs (32 of k) and kStrip columns
// at a time, and transposes each tile into place.
template <class T>
void pack_left_transposed(Pair* out, const T* a, int64_t lda, int64_t m, int64_t k) {
  constexpr int64_t kStrip = 256;
  alignas(64) Pair strip[kTile * kStrip];
  alignas(64) Pair tile[kTile * kTile];
  const int64_t ld = packed_depth(k) / 2;
  for (int64_t k0 = 0; k0 < k; k0 += kPackedDepth) {
    for (int64_t m0 = 0; m0 < m; m0 += kStrip) {
      const int64_t width = std::min(kStrip, m - m0);
      const int64_t next = std::min(kStrip, m - m0 - width);
      for (int64_t r = 0; r < kTile; ++r) {
        const T* rows = a + (k0 + 2 * r) * lda + m0;
        const int64_t filled = std::clamp<int64_t>(k - k0 - 2 * r, 0, 2);
        for (int64_t row = 0; row < filled; ++row) prefetch_row(rows + row * lda + width, next);
        pair_all(strip + r * kStrip, kStrip, rows, lda, filled, width, 1, round_up(width, kTile));
      }
      for (int64_t i = 0; i < width; i += kTile) {
        Pair* target = out + (m0 + i) * ld + k0 / 2;
        if (i + kTile <= width) {
          transpose_tile(target, ld, strip + i, kStrip);
          continue;
        }
        transpose_tile(tile, kTile, strip + i, kStrip);
        for (int64_t row = 0; row < width - i; ++row)
          std::copy_n(tile + row * kTile, kTile, target + row * ld);
      }
    }
  }
}

// Packs one panel of a right operand that is stored transposed: rounds 16 stored rows, which are columns of
// the panel, at a time, and transposes them.
template <class T>
void pack_right_transposed(Pair* out, const T* b, int64_t ldb, int64_t k, int64_t n) {
  constexpr int64_t kDepth = 512;  // length of k at a time
  alignas(64) bf16 rows[kTile * kDepth];
  for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
    const int64_t depth = std::min(kDepth, k - k0);
    const int64_t padded = packed_depth(depth);
    for (int64_t n0 = 0; n0 < kPackedWidth; n0 += kTile) {
      for (int64_t i = 0; i < kTile; ++i) {
        bf16* row = rows + i * kDepth;
        const int64_t filled = n0 + i < n ? depth : 0;
        if (n0 + i + kTile < n) prefetch_row(b + (n0 + i + kTile) * ldb + k0, depth);
        if (filled > 0) round_row(row, b + (n0 + i) * ldb + k0, filled);
        std::fill(row + filled, row + padded, bf16());
      }
      const Pair* pairs = reinterpret_cast<const Pair*>(rows);
      for (int64_t p = 0; p < padded / 2; p += kTile)
        transpose_tile(out + (k0 / 2 + p) * kPackedWidth + n0, kPackedWidth, pairs + p, kDepth / 2);
    }
  }
}

}  // namespace

template <class T>
void pack_left(bf16* out, const T* a, int64_t lda, bool transposed, int64_t m, int64_t k) {
  if (transposed) return pack_left_transposed(reinterpret_cast<Pair*>(out), a, lda, m, k);
  const int64_t depth = packed_depth(k);
  const bool apart = lda > 2 * k;
  for (int64_t i = 0; i < m; ++i, out += depth) {
    if (apart && i + kPrefetchRows < m) prefetch_row(a + (i + kPrefetchRows) * lda, k);
    round_row(out, a + i * lda, k);
    std::fill(out + k, out + depth, bf16());
  }
}

// Row pairs are the outer loop: each row is read from end to end, which suits the hardware prefetcher, and
// dealt out to the panels.
template <class T>
void pack_right(bf16* out, const T* b, int64_t ldb, bool transposed, int64_t k, int64_t n) {
  Pair* pairs = reinterpret_cast<Pair*>(out);
  const int64_t panel = packed_depth(k) / 2 * kPackedWidth;
  if (transposed) {
    for (int64_t n0 = 0; n0 < n; n0 += kPackedWidth, pairs += panel)
      pack_right_transposed(pairs, b + n0 * ldb, ldb, k, std::min(kPackedWidth, n - n0));
    return;
  }
  for (int64_t k0 = 0; k0 < packed_depth(k); k0 += 2, pairs += kPackedWidth) {
    for (int64_t n0 = 0; n0 < n; n0 += kPackedWidth) {
      const int64_t width = std::min(kPackedWidth, n - n0);
      for (int64_t ahead = k0 + kPrefetchRows; ahead < std::min(k, k0 + kPrefetchRows + 2); ++ahead)
        prefetch_row(b + ahead * ldb + n0, width);
      pair_all(pairs + n0 / kPackedWidth * panel, kPackedWidth, b + k0 * ldb + n0, ldb,
               std::max<int64_t>(0, k - k0), width, 1, kPackedWidth);
    }
  }
}

template void pack_left(bf16*, const float*, int64_t, bool, int64_t, int64_t);
template void pack_left(bf16*, const bf16*, int64_t, bool, int64_t, int64_t);
template void pack_right(bf16*, const float*, int64_t, bool, int64_t, int64_t);
template void pack_right(bf16*, const bf16*, int64_t, bool, int64_t, int64_t);

void transpose_into(float* y, int64_t ldy, bool accumulate, const float* x, int64_t ldx, int64_t rows,
                    int64_t columns) {
  static_assert(sizeof(float) == sizeof(Pair));
  alignas(64) float tile[kTile * kTile], in[kTile * kTile] = {};
  for (int64_t i = 0; i < rows; i += kTile) {
    for (int64_t j = 0; j < columns; j += kTile) {
      const int64_t down = std::min(kTile, rows - i), across = std::min(kTile, columns - j);
      const float* source = x + i * ldx + j;
      int64_t ld = ldx;
      if (down < kTile || across < kTile) {
        for (int64_t row = 0; row < down; ++row) std::copy_n(source + row * ldx, across, in + row * kTile);
        source = in;
        ld = kTile;
      }
      transpose_tile(reinterpret_cast<Pair*>(tile), kTile, reinterpret_cast<const Pair*>(source), ld);
      for (int64_t column = 0; column < across; ++column) {
        float* target = y + (j + column) * ldy + i;
        for (int64_t row = 0; row < down; ++row)
          target[row] = tile[column * kTile + row] + (accumulate ? target[row] : 0.0f);
      }
    }
  }
}

}  // namespace tandem::cpu
