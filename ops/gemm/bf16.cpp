// Products in bf16: operands are packed close to where they are multiplied.
#include "tandem/ops/gemm/bf16.h"

#include <algorithm>
#include <type_traits>

#include "tandem/core/parallel.h"
#include "tandem/core/storage.h"
#include "tandem/core/streaming.h"
#include "tandem/ops/gemm/onednn.h"
#include "tandem/ops/gemm/pack.h"
#include "tandem/ops/gemm/partition.h"
#include "tandem/ops/gemm/round_bf16.h"
#include "tandem/ops/support/thread_scratch.h"

namespace tandem::cpu {
namespace {

// The number of different matrices that an operand of a batch has.
int64_t items(const Gemm& p, int64_t stride) {
  return stride == 0 ? 1 : p.batch;
}

// A thread's scratch memory: an operand, packed, and a tile of C.
struct TaskMemory {
  bf16* packed;
  float* tile;
};

// The two loops of a product: first all threads pack the operand that they share, by pack(shared, task), then
// they multiply, by multiply(shared, memory, task).
struct PackThenMultiply {
  int64_t shared_size, pack_tasks;         // elements of the shared operand; tasks that pack it
  int64_t multiply_tasks;                  // tasks that multiply
  int64_t own_packed_size, own_tile_size;  // elements of a thread's TaskMemory

  template <class Pack, class Multiply>
  void run(bool parallel, const Pack& pack, const Multiply& multiply) const {
    const Storage storage(shared_size * sizeof(bf16), Device::cpu());
    const int64_t packed_bytes = own_packed_size * static_cast<int64_t>(sizeof(bf16)),
                  tile_bytes = own_tile_size * static_cast<int64_t>(sizeof(float));
    const ThreadScratch scratch(round_up(packed_bytes, 64) + tile_bytes, parallel);
    bf16* const shared = static_cast<bf16*>(storage.data());
    parallel_for(pack_tasks, parallel, [&](int64_t task) { pack(shared, task); });
    parallel_for(multiply_tasks, parallel, [&](int64_t task) {
      const SingleThreaded single;
      char* memory = scratch.own();
      bf16* const packed = take<bf16>(memory, own_packed_size);
      multiply(shared, TaskMemory{packed, take<float>(memory, own_tile_size)}, task);
    });
  }
};

// Computes most products: the right operand, a weight, is packed once and shared. Each task packs some rows
// of the left operand and multiplies them by all of the right one, a tile of C at a time, which stays in
// cache until it is complete.
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

  // True if the stored rows are bf16 and need no padding: they are then in packed order already.
  bool packed_as_stored() const {
    return std::is_same_v<A, bf16> && !p.transpose_a && p.lda == p.k && p.k == depth;
  }

  // Packs m rows. Each stored row is read from end to end, which suits the hardware prefetcher, and a later
  // row is prefetched piece by piece.
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

  void multiply_task(const bf16* right, const TaskMemory& memory, int64_t task) const {
    const int64_t item = task / blocks(), i = task % blocks() * rows, m = std::min(rows, p.m - i);
    if (p.stride_b != 0) right += item * depth * width;
    const bf16* left = left_rows(memory.packed, a + item * p.stride_a + row_offset(p, i), m);
    multiply_rows(c + item * p.stride_c + i * p.ldc, left, right, m, memory);
  }

  void multiply_rows(float* y, const bf16* left, const bf16* right, int64_t m,
                     const TaskMemory& memory) const {
    // A tile that is whole rows of C is computed in place.
    if (!stream && !bias && p.ldc == p.n && p.n <= kTileColumns)
      return onednn_multiply_packed(y, left, right, m, p.n, depth, p.accumulate);
    for (int64_t j = 0; j < p.n; j += kTileColumns) {
      const int64_t n = std::min(kTileColumns, p.n - j);
      onednn_multiply_packed(memory.tile, left, right + depth * j, m, n, depth, false);
      for (int64_t row = 0; row < m; ++row)
        put_row(y + row * p.ldc + j, memory.tile + row * n, n, bias ? bias + j : nullptr);
    }
    finish_streaming();
  }
  // A bf16 result has whole rows without gaps, which oneDNN rounds.
  void multiply_rows(bf16* y, const bf16* left, const bf16* right, int64_t m, const TaskMemory&) const {
    onednn_multiply_packed(y, left, right, m, p.n, depth);
  }

  void put_row(float* y, float* x, int64_t n, const float* added) const {
    if (p.accumulate || !stream) return write_row(y, x, n, added, p.accumulate);
    if (added) add_to_row(x, added, n);
    stream_row(y, x, n);
  }
  bool stream = worth_streaming(p.batch * p.m * p.n * sizeof(C));

  void run() const {
    const int64_t tile = std::is_same_v<C, float> ? rows * std::min(p.n, kTileColumns) : 0;
    const PackThenMultiply loops{.shared_size = items(p, p.stride_b) * depth * width,
                                 .pack_tasks = items(p, p.stride_b) * groups,
                                 .multiply_tasks = p.batch * blocks(),
                                 .own_packed_size = packed_as_stored() ? 0 : rows * depth,
                                 .own_tile_size = tile};
    loops.run(
        worth_threads(p), [this](bf16* right, int64_t task) { pack_task(right, task); },
        [this](const bf16* right, const TaskMemory& own, int64_t task) { multiply_task(right, own, task); });
  }
};

// Computes A^T B, the gradient of a weight, whose k is the long side: the left operand, the smaller one, is
// packed once and shared. Each task packs some columns of the right operand, slice by slice, and multiplies
// them while they are in cache.
template <class A, class B>
struct ColumnTasks {
  const Gemm& p;
  float* c;
  const A* a;
  const B* b;
  bool transpose_c;  // C receives the transpose of the product

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

  void multiply_task(const bf16* left, const TaskMemory& memory, int64_t task) const {
    const int64_t item = task / blocks(), j = task % blocks() * columns, n = std::min(columns, p.n - j);
    if (p.stride_a != 0) left += item * left_size;
    for (int64_t slice = 0; slice < slices; ++slice) {
      const int64_t depth = depth_of(slice);
      pack_right(memory.packed, b + item * p.stride_b + slice * kSliceDepth * p.ldb + j, p.ldb, false, depth,
                 n);
      onednn_multiply_packed(memory.tile, left + slice * p.m * kSliceDepth, memory.packed, p.m, n,
                             packed_depth(depth), slice > 0);
    }
    float* target = c + item * p.stride_c;
    if (transpose_c) return transpose_into(target + j * p.ldc, p.ldc, p.accumulate, memory.tile, n, p.m, n);
    for (int64_t row = 0; row < p.m; ++row)
      write_row(target + row * p.ldc + j, memory.tile + row * n, n, nullptr, p.accumulate);
  }

  void run() const {
    const PackThenMultiply loops{.shared_size = items(p, p.stride_a) * left_size,
                                 .pack_tasks = items(p, p.stride_a) * slices * groups,
                                 .multiply_tasks = p.batch * blocks(),
                                 .own_packed_size = kSliceDepth * columns,
                                 .own_tile_size = p.m * columns};
    loops.run(
        worth_threads(p), [this](bf16* left, int64_t task) { pack_task(left, task); },
        [this](const bf16* left, const TaskMemory& own, int64_t task) { multiply_task(left, own, task); });
  }
};

// Computes A^T B, the gradient of a weight.
template <class A, class B>
void multiply_columns(float* c, const A* a, const B* b, const Gemm& p) {
  if (!faster_via_transpose(p, nullptr)) return ColumnTasks<A, B>{p, c, a, b, false}.run();
  const Gemm transposed = transposed_product(p);
  ColumnTasks<B, A>{transposed, c, b, a, true}.run();
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
