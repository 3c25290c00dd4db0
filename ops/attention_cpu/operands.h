// The products of a block of attention, in two classes with the same interface: PlainOperand multiplies in
// f32 or f64, PackedOperand multiplies copies packed in bf16. Internal to ops/attention_cpu/blocks.cpp.
//
// An operand is one of the matrices K, V and R (keys, values, positions), of shape (rows, head) for every
// item (batch item and head). A block has `rows` query rows and sees a range of the rows of each operand of
// its item:
//
//     s = x K[range]^T       matmul_nt(), x: rows of q or dy, loaded once per block by load_rows()
//     y = p K[range]         matmul_nn(), p (rows, range): for example the attention weights
//     sums[range] = p^T x    matmul_tn()
//
// With `accumulate` the result is added instead. Results have no gaps between their rows. An operand holds
// `slots` prepared items at a time.
#pragma once
#include <algorithm>

#include "tandem/core/storage.h"
#include "tandem/ops/gemm/gemm.h"
#include "tandem/ops/gemm/log.h"
#include "tandem/ops/gemm/onednn.h"
#include "tandem/ops/gemm/pack.h"
#include "tandem/ops/gemm/partition.h"
#include "tandem/ops/support/thread_scratch.h"

namespace tandem::cpu {

// A matrix (rows, head) for every item, inside a tensor.
template <class T>
struct OperandView {
  const T* data;
  int64_t rows, ld;      // ld < 0: the last row of the tensor comes first
  int64_t batch_stride;  // 0: the batch items share the matrix
  int64_t heads, head;   // number and width of the heads

  const T* row(int64_t item, int64_t i) const {
    return data + i * ld + item / heads * batch_stride + item % heads * head;
  }
};

struct RowRange {
  int64_t first, count;
  int64_t end() const { return first + count; }
};

struct BlockSizes {
  int64_t rows;   // query rows of a block
  int64_t chunk;  // keys that backward takes at a time
};
inline constexpr int64_t kAllKeys = int64_t{1} << 40;

// Which of matmul_nt() and matmul_nn() will be called.
enum class OperandUse { nt, nn, both };

// prepare() copies K (or V, R) of one item into a contiguous buffer: in kv its rows lie batch * 2 D elements
// apart, which would slow every block's product.
template <class T>
class PlainOperand {
 public:
  using Element = T;
  using Stored = T;
  static constexpr int64_t kAlignment = 1;  // ranges begin and end at multiples of it
  static constexpr BlockSizes kBackward{128, kAllKeys};

  // The rows of q or dy of one block.
  struct Rows {
    const T* x;
    int64_t ld;
  };

  PlainOperand(const OperandView<T>& view, OperandUse, int64_t /*chunk*/, int64_t slots)
      : view_(view), storage_(slots * view.rows * view.head * sizeof(T), Device::cpu()) {}

  int64_t padded_rows() const { return view_.rows; }
  int64_t rows_bytes(int64_t) const { return 0; }
  int64_t scratch_bytes(int64_t, int64_t) const { return 0; }

  void prepare(int64_t slot, int64_t item) {
    for (int64_t i = 0; i < view_.rows; ++i) std::copy_n(view_.row(item, i), view_.head, row(slot, i));
  }

  Rows load_rows(char*&, const T* x, int64_t ldx, int64_t, bool) const { return {x, ldx}; }

  void matmul_nt(T* s, const Rows& x, int64_t slot, int64_t rows, RowRange range) const {
    gemm_serial(s, x.x, row(slot, range.first),
                {.m = rows,
                 .n = range.count,
                 .k = view_.head,
                 .transpose_b = true,
                 .lda = x.ld,
                 .ldb = view_.head,
                 .ldc = range.count});
  }
  void matmul_nn(T* y, bool accumulate, const T* p, int64_t slot, int64_t rows, RowRange range, char*) const {
    gemm_serial(y, p, row(slot, range.first),
                {.m = rows,
                 .n = view_.head,
                 .k = range.count,
                 .lda = range.count,
                 .ldb = view_.head,
                 .ldc = view_.head,
                 .accumulate = accumulate});
  }
  void matmul_tn(T* sums, bool accumulate, const T* p, const Rows& x, int64_t rows, RowRange range,
                 char*) const {
    gemm_serial(sums + range.first * view_.head, p, x.x,
                {.m = range.count,
                 .n = view_.head,
                 .k = rows,
                 .transpose_a = true,
                 .lda = range.count,
                 .ldb = x.ld,
                 .ldc = view_.head,
                 .accumulate = accumulate});
  }

 private:
  T* row(int64_t slot, int64_t i) const {
    return static_cast<T*>(storage_.data()) + (slot * view_.rows + i) * view_.head;
  }

  OperandView<T> view_;
  Storage storage_;
};

// prepare() packs K (or V, R) of one item, stored in f32 or bf16, in bf16; the left operands are packed block
// by block. matmul_nn() is fastest over a whole chunk: `chunk` rows from a multiple of it on, or as many as
// are left.
template <class S>
class PackedOperand {
 public:
  using Element = float;
  using Stored = S;
  static constexpr int64_t kAlignment = kPackedWidth;
  // matmul_tn() is twice as fast over 256 queries as over 128 (1,450 GFLOP/s of one thread against 760).
  static constexpr BlockSizes kBackward{256, 256};

  struct Rows {
    bf16 *left, *right;  // (rows, head), packed as a left operand and, for matmul_tn() only, as a right one
  };

  PackedOperand(const OperandView<S>& view, OperandUse use, int64_t chunk, int64_t slots)
      : view_(view),
        use_(use),
        rows_(round_up(view.rows, kPackedWidth)),
        chunk_(chunk),
        nt_size_(use == OperandUse::nn ? 0 : rows_ * packed_depth(view.head)),
        item_size_(nt_size_ + (use == OperandUse::nt ? 0 : rows_ * packed_width(view.head))),
        storage_(slots * item_size_ * sizeof(bf16), Device::cpu()) {}

  int64_t padded_rows() const { return rows_; }
  // The memory that load_rows() takes, and the scratch of a product over at most `range` rows of the operand.
  int64_t rows_bytes(int64_t rows) const {
    return (rows * packed_depth(view_.head) + packed_depth(rows) * packed_width(view_.head)) * sizeof(bf16);
  }
  int64_t scratch_bytes(int64_t rows, int64_t range) const {
    return rows * kPackedWidth * sizeof(float) + packed_depth(rows) * range * sizeof(bf16);
  }

  void prepare(int64_t slot, int64_t item) {
    const S* rows = view_.row(item, 0);
    if (use_ != OperandUse::nn) pack_right(packed_for_nt(slot), rows, view_.ld, true, view_.head, view_.rows);
    if (use_ != OperandUse::nt) pack_for_nn(packed_for_nn(slot), rows);
  }

  Rows load_rows(char*& memory, const float* x, int64_t ldx, int64_t rows, bool for_tn) const {
    bf16* left = take<bf16>(memory, rows * packed_depth(view_.head));
    pack_left(left, x, ldx, false, rows, view_.head);
    if (!for_tn) return {left, nullptr};
    bf16* right = take<bf16>(memory, packed_depth(rows) * packed_width(view_.head));
    pack_right(right, x, ldx, false, rows, view_.head);
    return {left, right};
  }

  void matmul_nt(float* s, const Rows& x, int64_t slot, int64_t rows, RowRange range) const {
    const int64_t depth = packed_depth(view_.head);
    multiply(s, x.left, packed_for_nt(slot) + range.first * depth, rows, range.count, depth, false);
  }

  void matmul_nn(float* y, bool accumulate, const float* p, int64_t slot, int64_t rows, RowRange range,
                 char* scratch) const {
    float* part = take<float>(scratch, rows * kPackedWidth);
    bf16* left = reinterpret_cast<bf16*>(scratch);
    pack_left(left, p, range.count, false, rows, range.count);
    const int64_t head = view_.head, first = range.first / chunk_ * chunk_,
                  depth = std::min(chunk_, rows_ - first);
    const bf16* right = packed_for_nn(slot) + first * packed_width(head);
    if (range.count == depth) return multiply(y, left, right, rows, head, depth, accumulate);
    // A part of a chunk is contiguous only within a panel: multiply panel by panel.
    right += (range.first - first) * kPackedWidth;
    for (int64_t column = 0; column < head; column += kPackedWidth, right += depth * kPackedWidth) {
      const int64_t width = std::min(kPackedWidth, head - column);
      multiply(part, left, right, rows, width, range.count, false);
      for (int64_t row = 0; row < rows; ++row)
        write_row(y + row * head + column, part + row * width, width, nullptr, accumulate);
    }
  }

  void matmul_tn(float* sums, bool accumulate, const float* p, const Rows& x, int64_t rows, RowRange range,
                 char* scratch) const {
    bf16* left = reinterpret_cast<bf16*>(scratch);
    pack_left(left, p, range.count, true, range.count, rows);
    multiply(sums + range.first * view_.head, left, x.right, range.count, view_.head, packed_depth(rows),
             accumulate);
  }

 private:
  // The operand packed as (head, rows) for matmul_nt(), and as (rows, head) for matmul_nn().
  bf16* packed_for_nt(int64_t slot) const { return static_cast<bf16*>(storage_.data()) + slot * item_size_; }
  bf16* packed_for_nn(int64_t slot) const { return packed_for_nt(slot) + nt_size_; }
  // Packs chunk after chunk, each in panels of its own. pack_right() pads to a multiple of kPackedDepth; the
  // rest of the last chunk is filled with zeros here.
  void pack_for_nn(bf16* out, const S* rows) const {
    for (int64_t first = 0; first < rows_; first += chunk_) {
      const int64_t depth = std::min(chunk_, rows_ - first), filled = std::min(depth, view_.rows - first),
                    packed = packed_depth(filled);
      for (int64_t column = 0; column < view_.head; column += kPackedWidth, out += depth * kPackedWidth) {
        pack_right(out, rows + first * view_.ld + column, view_.ld, false, filled,
                   std::min(kPackedWidth, view_.head - column));
        std::fill_n(reinterpret_cast<uint16_t*>(out) + packed * kPackedWidth, (depth - packed) * kPackedWidth,
                    uint16_t{0});
      }
    }
  }
  static void multiply(float* c, const bf16* left, const bf16* right, int64_t m, int64_t n, int64_t k,
                       bool accumulate) {
    note_gemm({m, n, k, false, false, accumulate, DType::bf16, true, 1});
    onednn_multiply_packed(c, left, right, m, n, k, accumulate);
  }

  OperandView<S> view_;
  OperandUse use_;
  int64_t rows_, chunk_;         // rows_: padded to whole panels
  int64_t nt_size_, item_size_;  // elements of an item: packed for matmul_nt(), and in all
  Storage storage_;
};

}  // namespace tandem::cpu
