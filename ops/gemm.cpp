// Matrix products: cutting them into blocks, the f64 loop, precision, counts and the log.
#include "ops/gemm.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <mutex>

#include "core/check.h"
#include "core/macros.h"
#include "core/storage.h"
#include "ops/gemm_onednn.h"
#include "ops/gemm_pack.h"

namespace tandem {
namespace {

thread_local MatmulPrecision thread_precision = MatmulPrecision::f32;

std::atomic<int64_t> flops_f32{0}, flops_bf16{0}, flops_f64{0};

std::mutex log_mutex;
std::atomic<const GemmLog*> current_log{nullptr};
std::vector<GemmCall> logged;

bool same_kind(const GemmCall& a, const GemmCall& b) {
  return a.m == b.m && a.n == b.n && a.k == b.k && a.transpose_a == b.transpose_a &&
         a.transpose_b == b.transpose_b && a.accumulate == b.accumulate && a.dtype == b.dtype &&
         a.serial == b.serial;
}

}  // namespace

MatmulPrecision matmul_precision() {
  return thread_precision;
}

PrecisionScope::PrecisionScope(MatmulPrecision precision) : outer_(thread_precision) {
  CHECK(
      precision == MatmulPrecision::f32 || cpu_has_bf16(),
      "precision bf16: this CPU has no bf16 instructions (AMX or AVX-512 BF16) that oneDNN can use; use f32");
  thread_precision = precision;
}
PrecisionScope::~PrecisionScope() {
  thread_precision = outer_;
}

bool cpu_has_bf16() {
  return cpu::onednn_has_bf16();
}

GemmFlops gemm_flops() {
  return {flops_f32, flops_bf16, flops_f64};
}

GemmLog::GemmLog() {
  const std::scoped_lock lock(log_mutex);
  CHECK(current_log == nullptr, "GemmLog: another log is recording; one at a time");
  logged.clear();
  current_log = this;
}

GemmLog::~GemmLog() {
  current_log = nullptr;
}

std::vector<GemmCall> GemmLog::calls() const {
  const std::scoped_lock lock(log_mutex);
  return logged;
}

void note_gemm(const GemmCall& call) {
  std::atomic<int64_t>& flops =
      call.dtype == DType::f32 ? flops_f32 : (call.dtype == DType::bf16 ? flops_bf16 : flops_f64);
  flops.fetch_add(2 * call.m * call.n * call.k * call.count, std::memory_order_relaxed);
  if (!current_log.load(std::memory_order_relaxed)) return;
  const std::scoped_lock lock(log_mutex);
  for (GemmCall& seen : logged) {
    if (!same_kind(seen, call)) continue;
    seen.count += call.count;
    return;
  }
  logged.push_back(call);
}

namespace cpu {
namespace {

constexpr int64_t kSliceDepth = 512;  // of k, where it is cut

GemmCall call_of(const Gemm& p, DType dtype, bool serial) {
  return {p.m, p.n, p.k, p.transpose_a, p.transpose_b, p.accumulate, dtype, serial, p.batch};
}

// Below this many operations the other threads are not worth waking.
constexpr int64_t kParallelFlops = 1 << 20;
bool worth_threads(const Gemm& p) {
  return 2 * p.m * p.n * p.k * p.batch > kParallelFlops;
}

// Elements between op(A)'s row i = 0 and row i, and between op(B)'s column 0 and column j.
int64_t rows_of_a(const Gemm& p, int64_t i) {
  return p.transpose_a ? i : i * p.lda;
}
int64_t columns_of_b(const Gemm& p, int64_t j) {
  return p.transpose_b ? j * p.ldb : j;
}

// c += x y where x has `depth` elements and y is (depth, n), contiguous.
TANDEM_SIMD void add_weighted_rows(double* c, const double* x, const double* y, int64_t depth, int64_t n) {
  for (int64_t k = 0; k < depth; ++k, y += n) {
    const double weight = x[k];
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) c[j] += weight * y[j];
  }
}

// f64 serves gradcheck and golden numbers: clear, and fast enough. op(B) goes through a contiguous block.
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

// k in slices: with a transposed A they keep the strip of A that a block walks down within the caches' reach.
void multiply(const Gemm& p, float* c, const float* a, const float* b) {
  const int64_t slice = p.transpose_a ? kSliceDepth : p.k;
  for (int64_t k = 0; k < p.k; k += slice)
    onednn_sgemm(p.transpose_a, p.transpose_b, p.m, p.n, std::min(slice, p.k - k),
                 p.transpose_a ? a + k * p.lda : a + k, p.lda, p.transpose_b ? b + k : b + k * p.ldb, p.ldb,
                 p.accumulate || k > 0, c, p.ldc);
  for (int64_t i = 0; i < p.m && p.k == 0 && !p.accumulate; ++i) std::fill_n(c + i * p.ldc, p.n, 0.0f);
}

TANDEM_SIMD void add_to_row(float* y, const float* x, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] += x[j];
}

TANDEM_SIMD void add_to_row(double* y, const double* x, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] += x[j];
}

// Blocks of C: large enough to amortise the packing inside, small enough that there are kBlocks of them to
// share out.
constexpr int64_t kBlocks = 8;

struct BlockSize {
  int64_t m = 256, n = 512;
};

BlockSize block_size(const Gemm& p) {
  BlockSize size;
  while (p.batch * ((p.m + size.m - 1) / size.m) * ((p.n + size.n - 1) / size.n) < kBlocks) {
    const int64_t m = std::min(size.m, p.m), n = std::min(size.n, p.n);
    if (m <= 64 && n <= 64) break;
    if (m >= n)
      size.m = round_up((m + 1) / 2, 32);
    else
      size.n = round_up((n + 1) / 2, 32);
  }
  return size;
}

template <class T>
void multiply_in_blocks(T* c, const T* a, const T* b, const Gemm& p, const T* bias) {
  const BlockSize size = block_size(p);
  const int64_t down = (p.m + size.m - 1) / size.m, across = (p.n + size.n - 1) / size.n;
  const int64_t blocks = p.batch * down * across;
#pragma omp parallel if (worth_threads(p))
  {
    const SingleThreaded single;
#pragma omp for schedule(dynamic)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t item = block / (down * across);
      const int64_t i = block / across % down * size.m, j = block % across * size.n;
      Gemm part = p;
      part.m = std::min(size.m, p.m - i);
      part.n = std::min(size.n, p.n - j);
      T* target = c + item * p.stride_c + i * p.ldc + j;
      multiply(part, target, a + item * p.stride_a + rows_of_a(p, i),
               b + item * p.stride_b + columns_of_b(p, j));
      for (int64_t row = 0; row < part.m && bias; ++row) add_to_row(target + row * p.ldc, bias + j, part.n);
    }
  }
}

// A^T B with m > n, the gradient of a wide weight, runs faster as the transpose of B^T A: walking a matrix
// against its rows costs most, so it had better be the smaller one.
bool better_flipped(const Gemm& p, const float* bias) {
  return p.transpose_a && !p.transpose_b && p.m > p.n && !bias;
}

Gemm flip(Gemm p) {
  std::swap(p.m, p.n);
  std::swap(p.lda, p.ldb);
  std::swap(p.stride_a, p.stride_b);
  return p;
}

void multiply_flipped(float* c, const float* a, const float* b, const Gemm& p) {
  const BlockSize size = block_size(p);
  const int64_t down = (p.m + size.m - 1) / size.m, across = (p.n + size.n - 1) / size.n;
  const int64_t tile = size.m * size.n;
  const bool parallel = worth_threads(p);
  const Storage scratch((parallel ? omp_get_max_threads() : 1) * tile * sizeof(float), Device::cpu());
#pragma omp parallel if (parallel)
  {
    const SingleThreaded single;
    float* own = static_cast<float*>(scratch.data()) + omp_get_thread_num() * tile;
#pragma omp for schedule(dynamic)
    for (int64_t block = 0; block < p.batch * down * across; ++block) {
      const int64_t item = block / (down * across);
      const int64_t i = block / across % down * size.m, j = block % across * size.n;
      Gemm part = p;
      part.m = std::min(size.m, p.m - i);
      part.n = part.ldc = std::min(size.n, p.n - j);
      part.accumulate = false;
      multiply(part, own, a + item * p.stride_a + i, b + item * p.stride_b + j);
      transpose_into(c + item * p.stride_c + j * p.ldc + i, p.ldc, p.accumulate, own, part.n, part.m, part.n);
    }
  }
}

// In bf16 both operands are packed first. k is cut into slices that keep what a block multiplies in the
// second-level cache; rounding a stored row is cheap, so rows of an untransposed left operand are packed just
// before their use.
constexpr int64_t kPackColumns = 512;  // of the right operand, a task

struct PackedGemm {
  Gemm p;
  const float *a, *b, *bias;
  float* c;
  bool flipped;  // computes the transpose of C, so that the smaller operand is the one whose packing
                 // transposes it

  int64_t rows = 128;
  int64_t width = 0, slices = 0, right_items = 0, right_size = 0, left_size = 0;
  bool direct = false;  // a product has no gaps: where C has, it goes through a tile

  PackedGemm(float* c_in, const float* a_in, const float* b_in, const Gemm& product, const float* bias_in)
      : p(product), a(a_in), b(b_in), bias(bias_in), c(c_in) {
    flipped = better_flipped(p, bias);
    if (flipped) {
      std::swap(a, b);
      p = flip(p);
    }
    while (rows > 32 && p.batch * ((p.m + rows - 1) / rows) < kBlocks) rows /= 2;
    width = packed_width(p.n);
    slices = (p.k + kSliceDepth - 1) / kSliceDepth;
    right_items = p.stride_b == 0 ? 1 : p.batch;
    right_size = packed_depth(p.k) * width;
    left_size = rows * packed_depth(p.k);
    direct = p.ldc == width && !flipped;
  }

  int64_t blocks() const { return (p.m + rows - 1) / rows; }
  int64_t pack_tasks() const { return right_items * slices * ((p.n + kPackColumns - 1) / kPackColumns); }
  size_t left_bytes() const { return static_cast<size_t>(left_size) * sizeof(bf16); }
  size_t tile_bytes() const { return direct ? 0 : static_cast<size_t>(rows * width) * sizeof(float); }
  int64_t depth(int64_t slice) const { return std::min(kSliceDepth, p.k - slice * kSliceDepth); }

  void pack_task(bf16* right, int64_t task) const {
    const int64_t groups = (p.n + kPackColumns - 1) / kPackColumns;
    const int64_t item = task / (slices * groups), slice = task / groups % slices,
                  n0 = task % groups * kPackColumns;
    const int64_t k0 = slice * kSliceDepth;
    const float* source = b + item * p.stride_b + (p.transpose_b ? n0 * p.ldb + k0 : k0 * p.ldb + n0);
    bf16* target = right + item * right_size + k0 * width + packed_depth(depth(slice)) * n0;
    pack_right(target, source, p.ldb, p.transpose_b, depth(slice), std::min(kPackColumns, p.n - n0));
  }

  // Left rows i .. i + m - 1, slice after slice.
  void pack_rows(bf16* left, const float* source, int64_t m) const {
    if (p.transpose_a) {
      for (int64_t slice = 0; slice < slices; ++slice, left += m * kSliceDepth, source += kSliceDepth * p.lda)
        pack_left(left, source, p.lda, true, m, depth(slice));
      return;
    }
    for (int64_t row = 0; row < m; ++row, source += p.lda)
      for (int64_t slice = 0; slice < slices; ++slice)
        pack_left(left + slice * m * kSliceDepth + row * packed_depth(depth(slice)),
                  source + slice * kSliceDepth, 0, false, 1, depth(slice));
  }

  void multiply_block(const bf16* right, bf16* left, float* tile, int64_t item, int64_t block) const {
    const int64_t i = block * rows, m = std::min(rows, p.m - i);
    float* target = c + item * p.stride_c + (flipped ? i : i * p.ldc);
    if (p.stride_b != 0) right += item * right_size;
    pack_rows(left, a + item * p.stride_a + rows_of_a(p, i), m);
    for (int64_t slice = 0; slice < slices; ++slice)
      onednn_multiply_packed(direct ? target : tile, left + slice * m * kSliceDepth,
                             right + slice * kSliceDepth * width, m, width, packed_depth(depth(slice)),
                             slice > 0 || (direct && p.accumulate));
    if (flipped) {
      transpose_into(target, p.ldc, p.accumulate, tile, width, m, p.n);
      return;
    }
    for (int64_t row = 0; row < m; ++row) {
      float* y = target + row * p.ldc;
      if (!direct && p.accumulate) add_to_row(y, tile + row * width, p.n);
      if (!direct && !p.accumulate) std::copy_n(tile + row * width, p.n, y);
      if (bias) add_to_row(y, bias, p.n);
    }
  }
};

void multiply_packed(float* c, const float* a, const float* b, const Gemm& p, const float* bias) {
  const PackedGemm work(c, a, b, p, bias);
  const bool parallel = worth_threads(p);
  // All scratch is taken here, so that what is asked for does not depend on the threads' timing.
  const Storage right(work.right_items * work.right_size * sizeof(bf16), Device::cpu());
  const size_t per_thread = round_up(static_cast<int64_t>(work.left_bytes() + work.tile_bytes()), 512);
  const Storage scratch(per_thread * (parallel ? omp_get_max_threads() : 1), Device::cpu());
  bf16* packed = static_cast<bf16*>(right.data());
#pragma omp parallel if (parallel)
  {
    const SingleThreaded single;
    char* own = static_cast<char*>(scratch.data()) + per_thread * omp_get_thread_num();
    bf16* left = reinterpret_cast<bf16*>(own);
    float* tile = reinterpret_cast<float*>(own + work.left_bytes());
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < work.pack_tasks(); ++task) work.pack_task(packed, task);
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < p.batch * work.blocks(); ++i)
      work.multiply_block(packed, left, tile, i / work.blocks(), i % work.blocks());
  }
}

}  // namespace

void gemm(float* c, const float* a, const float* b, const Gemm& p, const float* bias) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  const bool packed = p.precision == MatmulPrecision::bf16 && p.k > 0;
  note_gemm(call_of(p, packed ? DType::bf16 : DType::f32, false));
  if (packed)
    multiply_packed(c, a, b, p, bias);
  else if (better_flipped(p, bias))
    multiply_flipped(c, b, a, flip(p));
  else
    multiply_in_blocks(c, a, b, p, bias);
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
