// bf16 products of f32 matrices: operands are packed close to where they are multiplied.
#include <omp.h>

#include <algorithm>
#include <type_traits>

#include "core/storage.h"
#include "core/streaming.h"
#include "ops/gemm/onednn.h"
#include "ops/gemm/pack.h"
#include "ops/gemm/partition.h"
#include "ops/gemm/round_bf16.h"

namespace tandem::cpu {
namespace {

int64_t items(const Gemm& p, int64_t stride) {
  return stride == 0 ? 1 : p.batch;
}

// Scratch is taken before the threads start, so that what is asked for does not depend on their timing.
class ThreadMemory {
 public:
  ThreadMemory(int64_t packed, int64_t floats, bool parallel)
      : packed_bytes_(round_up(packed * static_cast<int64_t>(sizeof(bf16)), 512)),
        bytes_(packed_bytes_ + round_up(floats * static_cast<int64_t>(sizeof(float)), 512)),
        storage_(bytes_ * (parallel ? omp_get_max_threads() : 1), Device::cpu()) {}
  bf16* packed() const { return reinterpret_cast<bf16*>(own()); }
  float* tile() const { return reinterpret_cast<float*>(own() + packed_bytes_); }

 private:
  char* own() const { return static_cast<char*>(storage_.data()) + bytes_ * omp_get_thread_num(); }
  int64_t packed_bytes_, bytes_;
  Storage storage_;
};

// Most products: the right operand, a weight, is packed once and shared; each task packs some rows of the
// left one and multiplies them by all of it, a tile of C at a time that stays in cache until it is complete.
template <class C, class A>
struct RowTasks {
  const Gemm& p;
  C* c;
  const A* a;
  const float *b, *bias;
  static constexpr int64_t kTileColumns = 512;

  int64_t rows = task_size(p.m, 256, 32, p.batch);
  int64_t width = packed_width(p.n), depth = packed_depth(p.k);
  int64_t pack_columns = task_size(p.n, 512, kPackedWidth, items(p, p.stride_b));
  int64_t groups = (p.n + pack_columns - 1) / pack_columns;

  int64_t blocks() const { return (p.m + rows - 1) / rows; }

  void pack_task(bf16* right, int64_t task) const {
    const int64_t item = task / groups, j = task % groups * pack_columns;
    pack_right(right + item * depth * width + depth * j, b + item * p.stride_b + column_offset(p, j), p.ldb,
               p.transpose_b, p.k, std::min(pack_columns, p.n - j));
  }

  // Of bf16, whole rows that need no padding are packed as they lie.
  bool packed_as_stored() const {
    return std::is_same_v<A, bf16> && !p.transpose_a && p.lda == p.k && p.k == depth;
  }

  // Stored rows are read from end to end, as the prefetcher likes, and asked for piece by piece.
  void pack_rows(bf16* left, const A* source, int64_t m) const {
    constexpr int64_t kRowsAhead = 4, kPiece = 512;
    if (p.transpose_a) return pack_left(left, source, p.lda, true, m, p.k);
    for (int64_t row = 0; row < m; ++row, source += p.lda, left += depth) {
      for (int64_t k = 0; k < p.k; k += kPiece) {
        const int64_t piece = std::min(kPiece, p.k - k);
        if (row + kRowsAhead < m) prefetch_row(source + kRowsAhead * p.lda + k, piece);
        pack_left(left + k, source + k, p.lda, false, 1, piece);
      }
    }
  }

  const bf16* left_rows(bf16* packed, const A* source, int64_t m) const {
    if constexpr (std::is_same_v<A, bf16>)
      if (packed_as_stored()) return source;
    pack_rows(packed, source, m);
    return packed;
  }

  void multiply_task(const bf16* right, const ThreadMemory& memory, int64_t task) const {
    const int64_t item = task / blocks(), i = task % blocks() * rows, m = std::min(rows, p.m - i);
    if (p.stride_b != 0) right += item * depth * width;
    const bf16* left = left_rows(memory.packed(), a + item * p.stride_a + row_offset(p, i), m);
    multiply_rows(c + item * p.stride_c + i * p.ldc, left, right, m, memory);
  }

  void multiply_rows(float* y, const bf16* left, const bf16* right, int64_t m,
                     const ThreadMemory& memory) const {
    // A few whole rows of C are a tile as they lie.
    if (!stream && !bias && p.ldc == p.n && p.n <= kTileColumns)
      return onednn_multiply_packed(y, left, right, m, p.n, depth, p.accumulate);
    for (int64_t j = 0; j < p.n; j += kTileColumns) {
      const int64_t n = std::min(kTileColumns, p.n - j);
      onednn_multiply_packed(memory.tile(), left, right + depth * j, m, n, depth, false);
      for (int64_t row = 0; row < m; ++row)
        put_row(y + row * p.ldc + j, memory.tile() + row * n, n, bias ? bias + j : nullptr);
    }
    finish_streaming();
  }
  // Whole rows without gaps: the kernel rounds them.
  void multiply_rows(bf16* y, const bf16* left, const bf16* right, int64_t m, const ThreadMemory&) const {
    onednn_multiply_packed(y, left, right, m, p.n, depth);
  }

  void put_row(float* y, float* x, int64_t n, const float* added) const {
    if (p.accumulate || !stream) return write_row(y, x, n, added, p.accumulate);
    if (added) add_to_row(x, added, n);
    stream_row(y, x, n);
  }
  bool stream = worth_streaming(p.batch * p.m * p.n * sizeof(C));

  void run() const {
    const bool parallel = worth_threads(p);
    const Storage right(items(p, p.stride_b) * depth * width * sizeof(bf16), Device::cpu());
    const int64_t tile = std::is_same_v<C, float> ? rows * std::min(p.n, kTileColumns) : 0;
    const ThreadMemory memory(packed_as_stored() ? 0 : rows * depth, tile, parallel);
    bf16* packed = static_cast<bf16*>(right.data());
    const int64_t pack_tasks = items(p, p.stride_b) * groups, tasks = p.batch * blocks();
#pragma omp parallel if (parallel)
    {
      const SingleThreaded single;
#pragma omp for schedule(dynamic)
      for (int64_t task = 0; task < pack_tasks; ++task) pack_task(packed, task);
#pragma omp for schedule(dynamic)
      for (int64_t task = 0; task < tasks; ++task) multiply_task(packed, memory, task);
    }
  }
};

// A^T B, the gradient of a weight, where k is the long side: the left operand, the smaller one, is packed
// once and shared; each task packs some columns of the right one, slice by slice, and uses them while they
// are in cache.
template <class A, class B>
struct ColumnTasks {
  const Gemm& p;
  float* c;
  const A* a;
  const B* b;
  bool flipped;  // C is the transpose of what is computed

  int64_t columns = task_size(p.n, 256, kPackedWidth, p.batch);
  int64_t slices = (p.k + kSliceDepth - 1) / kSliceDepth;
  int64_t pack_rows = task_size(p.m, 512, kPackedWidth, items(p, p.stride_a) * slices);
  int64_t groups = (p.m + pack_rows - 1) / pack_rows;
  int64_t left_size = p.m * packed_depth(p.k);

  int64_t blocks() const { return (p.n + columns - 1) / columns; }
  int64_t depth_of(int64_t slice) const { return std::min(kSliceDepth, p.k - slice * kSliceDepth); }

  void pack_task(bf16* left, int64_t task) const {
    const int64_t item = task / (slices * groups), slice = task / groups % slices,
                  m0 = task % groups * pack_rows;
    const int64_t depth = depth_of(slice);
    pack_left(left + item * left_size + slice * p.m * kSliceDepth + m0 * packed_depth(depth),
              a + item * p.stride_a + slice * kSliceDepth * p.lda + m0, p.lda, true,
              std::min(pack_rows, p.m - m0), depth);
  }

  void multiply_task(const bf16* left, const ThreadMemory& memory, int64_t task) const {
    const int64_t item = task / blocks(), j = task % blocks() * columns, n = std::min(columns, p.n - j);
    if (p.stride_a != 0) left += item * left_size;
    for (int64_t slice = 0; slice < slices; ++slice) {
      const int64_t depth = depth_of(slice);
      pack_right(memory.packed(), b + item * p.stride_b + slice * kSliceDepth * p.ldb + j, p.ldb, false,
                 depth, n);
      onednn_multiply_packed(memory.tile(), left + slice * p.m * kSliceDepth, memory.packed(), p.m, n,
                             packed_depth(depth), slice > 0);
    }
    float* target = c + item * p.stride_c;
    if (flipped) return transpose_into(target + j * p.ldc, p.ldc, p.accumulate, memory.tile(), n, p.m, n);
    for (int64_t row = 0; row < p.m; ++row)
      write_row(target + row * p.ldc + j, memory.tile() + row * n, n, nullptr, p.accumulate);
  }

  void run() const {
    const bool parallel = worth_threads(p);
    const Storage left(items(p, p.stride_a) * left_size * sizeof(bf16), Device::cpu());
    const ThreadMemory memory(kSliceDepth * columns, p.m * columns, parallel);
    bf16* packed = static_cast<bf16*>(left.data());
    const int64_t pack_tasks = items(p, p.stride_a) * slices * groups, tasks = p.batch * blocks();
#pragma omp parallel if (parallel)
    {
      const SingleThreaded single;
#pragma omp for schedule(dynamic)
      for (int64_t task = 0; task < pack_tasks; ++task) pack_task(packed, task);
#pragma omp for schedule(dynamic)
      for (int64_t task = 0; task < tasks; ++task) multiply_task(packed, memory, task);
    }
  }
};

// A^T B, the gradient of a weight.
template <class A, class B>
void multiply_columns(float* c, const A* a, const B* b, const Gemm& p) {
  if (!better_flipped(p, nullptr)) return ColumnTasks<A, B>{p, c, a, b, false}.run();
  const Gemm flipped = flip(p);
  ColumnTasks<B, A>{flipped, c, b, a, true}.run();
}

}  // namespace

void gemm_bf16(float* c, const float* a, const float* b, const Gemm& p, const float* bias) {
  if (is_weight_gradient(p) && !bias) return multiply_columns(c, a, b, p);
  RowTasks<float, float>{p, c, a, b, bias}.run();
}

void gemm_bf16(bf16* c, const float* a, const float* b, const Gemm& p) {
  RowTasks<bf16, float>{p, c, a, b, nullptr}.run();
}

void gemm_bf16(float* c, const bf16* a, const float* b, const Gemm& p) {
  if (is_weight_gradient(p)) return multiply_columns(c, a, b, p);
  RowTasks<float, bf16>{p, c, a, b, nullptr}.run();
}

void gemm_bf16(float* c, const float* a, const bf16* b, const Gemm& p) {
  multiply_columns(c, a, b, p);
}

}  // namespace tandem::cpu
