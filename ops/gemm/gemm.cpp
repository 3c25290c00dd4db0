// gemm(): the choice of a way to multiply, f32 and f64 products in blocks of C, and the f64 loop.
#include "tandem/ops/gemm/gemm.h"

#include <algorithm>

#include "tandem/core/check.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"
#include "tandem/core/storage.h"
#include "tandem/ops/gemm/bf16.h"
#include "tandem/ops/gemm/few_rows.h"
#include "tandem/ops/gemm/log.h"
#include "tandem/ops/gemm/onednn.h"
#include "tandem/ops/gemm/pack.h"
#include "tandem/ops/gemm/partition.h"
#include "tandem/ops/support/thread_scratch.h"

namespace tandem {
namespace cpu {
namespace {

GemmCall call_of(const Gemm& p, DType dtype, bool serial) {
  return {p.m, p.n, p.k, p.transpose_a, p.transpose_b, p.accumulate, dtype, serial, p.batch};
}

// c += x y, where x has `depth` elements and y is (depth, n), contiguous.
TANDEM_SIMD void add_weighted_rows(double* c, const double* x, const double* y, int64_t depth, int64_t n) {
  for (int64_t k = 0; k < depth; ++k, y += n) {
    const double weight = x[k];
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) c[j] += weight * y[j];
  }
}

// Computes an f64 product, as gradcheck and golden numbers need it: simple, and fast enough. Each block of
// op(B) is copied into a contiguous buffer first.
void multiply(const Gemm& p, double* c, const double* a, const double* b) {
  constexpr int64_t kDepth = 32, kWidth = 128;
  double block[kDepth * kWidth], weights[kDepth];
  for (int64_t i = 0; i < p.m && !p.accumulate; ++i) std::fill_n(c + i * p.ldc, p.n, 0.0);
  for (int64_t k0 = 0; k0 < p.k; k0 += kDepth) {
    const int64_t depth = std::min(kDepth, p.k - k0);
    for (int64_t j0 = 0; j0 < p.n; j0 += kWidth) {
      const int64_t width = std::min(kWidth, p.n - j0);
      for (int64_t k = 0; k < depth; ++k)
        for (int64_t j = 0; j < width; ++j)
          block[k * width + j] = p.transpose_b ? b[(j0 + j) * p.ldb + k0 + k] : b[(k0 + k) * p.ldb + j0 + j];
      for (int64_t i = 0; i < p.m; ++i) {
        for (int64_t k = 0; k < depth; ++k)
          weights[k] = p.transpose_a ? a[(k0 + k) * p.lda + i] : a[i * p.lda + k0 + k];
        add_weighted_rows(c + i * p.ldc + j0, weights, block, depth, width);
      }
    }
  }
}

// Computes an f32 product. A transposed A is multiplied in slices of k, which keeps the strip of A that a
// block walks down in cache.
void multiply(const Gemm& p, float* c, const float* a, const float* b) {
  const int64_t slice = p.transpose_a ? kSliceDepth : p.k;
  for (int64_t k = 0; k < p.k; k += slice)
    onednn_sgemm(p.transpose_a, p.transpose_b, p.m, p.n, std::min(slice, p.k - k),
                 p.transpose_a ? a + k * p.lda : a + k, p.lda, p.transpose_b ? b + k : b + k * p.ldb, p.ldb,
                 p.accumulate || k > 0, c, p.ldc);
  for (int64_t i = 0; i < p.m && p.k == 0 && !p.accumulate; ++i) std::fill_n(c + i * p.ldc, p.n, 0.0f);
}

struct BlockSize {
  int64_t m, n;
};

// Returns the size of the blocks of C: large enough to amortise oneDNN's packing, and, if possible, small
// enough for kMinTasks blocks. On AVX-512 oneDNN is fastest on wide blocks of a multiple of 48 columns, so
// rows are halved before columns.
BlockSize block_size(const Gemm& p) {
  constexpr int64_t kMostRows = 256, kMostColumns = 960, kLeastRows = 64, kLeastColumns = 96, kWhole = 48;
  int64_t parts = (p.n + kMostColumns - 1) / kMostColumns;
  const auto columns = [&p, &parts] { return std::min(p.n, round_up((p.n + parts - 1) / parts, kWhole)); };
  BlockSize size{std::min(kMostRows, p.m), columns()};
  while (p.batch * ((p.m + size.m - 1) / size.m) * ((p.n + size.n - 1) / size.n) < kMinTasks) {
    if (size.m > kLeastRows) {
      size.m = round_up((size.m + 1) / 2, 32);
    } else if (size.n > kLeastColumns) {
      parts *= 2;
      size.n = columns();
    } else {
      break;
    }
  }
  return size;
}

// The blocks of all products of a batch.
struct Blocks {
  struct Block {
    int64_t item, i, j;  // batch item, first row and first column
    Gemm p;              // p.m rows and p.n columns
  };

  const Gemm& p;
  BlockSize size = block_size(p);
  int64_t down = (p.m + size.m - 1) / size.m, across = (p.n + size.n - 1) / size.n;

  int64_t count() const { return p.batch * down * across; }
  Block at(int64_t index) const {
    Block block{index / (down * across), index / across % down * size.m, index % across * size.n, p};
    block.p.m = std::min(size.m, p.m - block.i);
    block.p.n = std::min(size.n, p.n - block.j);
    return block;
  }
};

template <class T>
void multiply_in_blocks(T* c, const T* a, const T* b, const Gemm& p, const T* bias) {
  const Blocks blocks{p};
  parallel_for(blocks.count(), worth_threads(p), [&](int64_t index) {
    const SingleThreaded single;
    const auto [item, i, j, part] = blocks.at(index);
    T* target = c + item * p.stride_c + i * p.ldc + j;
    multiply(part, target, a + item * p.stride_a + row_offset(p, i),
             b + item * p.stride_b + column_offset(p, j));
    for (int64_t row = 0; row < part.m && bias; ++row) add_to_row(target + row * p.ldc, bias + j, part.n);
  });
}

// Computes the product p block by block in scratch memory, and writes or adds each block, transposed, to C.
void gemm_via_transpose(float* c, const float* a, const float* b, const Gemm& p) {
  const Blocks blocks{p};
  const bool parallel = worth_threads(p);
  const ThreadScratch scratch(blocks.size.m * blocks.size.n * sizeof(float), parallel);
  parallel_for(blocks.count(), parallel, [&](int64_t index) {
    const SingleThreaded single;
    float* const tile = scratch.own<float>();
    auto [item, i, j, part] = blocks.at(index);
    part.ldc = part.n;
    part.accumulate = false;
    multiply(part, tile, a + item * p.stride_a + i, b + item * p.stride_b + j);
    transpose_into(c + item * p.stride_c + j * p.ldc + i, p.ldc, p.accumulate, tile, part.n, part.m, part.n);
  });
}

// oneDNN repacks B for each block, slowly if B is stored transposed. From so many rows of C on, transposing B
// once is faster.
constexpr int64_t kMinRowsToTransposeB = 128;

bool faster_with_transposed_b(const Gemm& p) {
  return p.transpose_b && !p.transpose_a && p.m >= kMinRowsToTransposeB && (p.stride_b == 0 || p.batch == 1);
}

void gemm_with_transposed_b(float* c, const float* a, const float* b, const Gemm& p, const float* bias) {
  constexpr int64_t kRows = 64;
  Gemm straight = p;
  straight.transpose_b = false;
  straight.ldb = round_up(p.n, 16);
  const Storage copy(p.k * straight.ldb * sizeof(float), Device::cpu());
  float* const rows = static_cast<float*>(copy.data());
  parallel_for((p.n + kRows - 1) / kRows, worth_threads(p), [&](int64_t block) {
    const int64_t j = block * kRows;
    transpose_into(rows + j, straight.ldb, false, b + j * p.ldb, p.ldb, std::min(kRows, p.n - j), p.k);
  });
  multiply_in_blocks(c, a, rows, straight, bias);
}

TANDEM_SIMD void add_to_row_clones(float* y, const float* x, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] += x[j];
}
TANDEM_SIMD void add_to_row_clones(double* y, const double* x, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] += x[j];
}

}  // namespace

void add_to_row(float* y, const float* x, int64_t n) {
  add_to_row_clones(y, x, n);
}
void add_to_row(double* y, const double* x, int64_t n) {
  add_to_row_clones(y, x, n);
}

void write_row(float* y, float* x, int64_t n, const float* bias, bool accumulate) {
  if (bias) add_to_row(x, bias, n);
  if (accumulate)
    add_to_row(y, x, n);
  else
    std::copy_n(x, n, y);
}

void gemm(float* c, const float* a, const float* b, const Gemm& p, const float* bias) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  const bool packed = p.precision == MatmulPrecision::bf16 && p.k > 0;
  note_gemm(call_of(p, packed ? DType::bf16 : DType::f32, false));
  if (packed)
    gemm_bf16(c, a, b, p, bias);
  else if (has_few_rows(p))
    gemm_few_rows(c, a, b, p, bias);
  else if (faster_via_transpose(p, bias))
    gemm_via_transpose(c, b, a, transposed_product(p));
  else if (faster_with_transposed_b(p))
    gemm_with_transposed_b(c, a, b, p, bias);
  else
    multiply_in_blocks(c, a, b, p, bias);
}

namespace {

// Checks and logs a product with an operand, or with its result (bf16_result), in bf16. Returns false if
// there is nothing to compute.
bool begin_bf16(const Gemm& p, bool bf16_result) {
  TANDEM_CHECK(
      p.precision == MatmulPrecision::bf16 && p.k > 0,
      "gemm: ({}, {}) times ({}, {}) with an operand or a result in bf16; it must be of precision bf16, and k positive",
      p.m, p.k, p.k, p.n);
  TANDEM_CHECK(
      !bf16_result || (!p.accumulate && p.ldc == p.n),
      "gemm: ({}, {}) times ({}, {}){} with rows {} apart in bf16; such a result must be overwritten and have no gaps",
      p.m, p.k, p.k, p.n, p.accumulate ? ", accumulated," : "", p.ldc);
  if (p.m == 0 || p.n == 0 || p.batch == 0) return false;
  note_gemm(call_of(p, DType::bf16, false));
  return true;
}

}  // namespace

void gemm(bf16* c, const float* a, const float* b, const Gemm& p) {
  if (begin_bf16(p, true)) gemm_bf16(c, a, b, p);
}

void gemm(float* c, const bf16* a, const float* b, const Gemm& p) {
  if (begin_bf16(p, false)) gemm_bf16(c, a, b, p);
}

void gemm(float* c, const float* a, const bf16* b, const Gemm& p) {
  TANDEM_CHECK(is_weight_gradient(p),
               "gemm: ({}, {}) times ({}, {}) with a right operand in bf16{}{}; it must be A^T B", p.m, p.k,
               p.k, p.n, p.transpose_a ? ", A transposed" : "", p.transpose_b ? ", B transposed" : "");
  if (begin_bf16(p, false)) gemm_bf16(c, a, b, p);
}

void gemm(double* c, const double* a, const double* b, const Gemm& p, const double* bias) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  note_gemm(call_of(p, DType::f64, false));
  multiply_in_blocks(c, a, b, p, bias);
}

void gemm_serial(float* c, const float* a, const float* b, const Gemm& p) {
  if (p.m == 0 || p.n == 0) return;
  note_gemm(call_of(p, DType::f32, true));
  const SingleThreaded single;
  multiply(p, c, a, b);
}

void gemm_serial(double* c, const double* a, const double* b, const Gemm& p) {
  if (p.m == 0 || p.n == 0) return;
  note_gemm(call_of(p, DType::f64, true));
  multiply(p, c, a, b);
}

}  // namespace cpu
}  // namespace tandem
