// The products of a block of attention, with two ways to run them: straight from the tensors (f32, f64), or
// from copies packed in bf16. Internal to attention_blocks.cpp.
//
// A block has `rows` query rows and sees a range of the rows of each side (keys, values, positions) of its
// item (batch item and head). Matrices made here have no gaps between rows. A block's rows of q or dy are
// taken once, by take_rows(), for all products with them. An operand keeps as many items prepared as it has
// slots.
#pragma once
#include <algorithm>

#include "core/storage.h"
#include "ops/gemm/gemm.h"
#include "ops/gemm/log.h"
#include "ops/gemm/onednn.h"
#include "ops/gemm/pack.h"
#include "ops/gemm/partition.h"

namespace tandem::cpu {

// A matrix (rows, head) for every item, as it lies in a tensor.
template <class T>
struct Side {
  const T* data;
  int64_t rows, ld;      // ld < 0: the tensor's last row comes first
  int64_t batch_stride;  // 0: shared by all of the batch
  int64_t heads, head;

  const T* row(int64_t item, int64_t i) const {
    return data + i * ld + item / heads * batch_stride + item % heads * head;
  }
};

struct RowRange {
  int64_t first, count;
  int64_t end() const { return first + count; }
};

// Query rows of a block, and how many keys it takes at a time.
struct BlockSizes {
  int64_t rows, chunk;
};
inline constexpr int64_t kAllKeys = int64_t{1} << 40;

// Which of times_transposed() and times() will be asked for.
enum class OperandUse { transposed, straight, both };

template <class T>
T* take(char*& memory, int64_t count) {
  T* taken = reinterpret_cast<T*>(memory);
  memory += round_up(count * static_cast<int64_t>(sizeof(T)), 64);
  return taken;
}

// A side that is copied once a call, by prepare(): in the tensor its rows lie a whole batch apart, which
// would cost every product of every block.
template <class T>
class PlainOperand {
 public:
  using Element = T;
  using Stored = T;
  static constexpr int64_t kAlignment = 1;  // of ranges
  static constexpr BlockSizes kBackward{128, kAllKeys};

  // Rows of q or dy, of one block.
  struct Rows {
    const T* x;
    int64_t ld;
  };

  PlainOperand(const Side<T>& side, OperandUse, int64_t, int64_t slots)
      : side_(side), storage_(slots * side.rows * side.head * sizeof(T), Device::cpu()) {}

  int64_t padded_rows() const { return side_.rows; }
  int64_t rows_bytes(int64_t) const { return 0; }
  int64_t scratch_bytes(int64_t, int64_t) const { return 0; }

  void prepare(int64_t slot, int64_t item) {
    for (int64_t i = 0; i < side_.rows; ++i) std::copy_n(side_.row(item, i), side_.head, row(slot, i));
  }

  Rows take_rows(char*&, const T* x, int64_t ldx, int64_t, bool) const { return {x, ldx}; }

  // s (rows, range) = x side^T
  void times_transposed(T* s, const Rows& x, int64_t slot, int64_t rows, RowRange range) const {
    gemm_serial(s, x.x, row(slot, range.first),
                {.m = rows,
                 .n = range.count,
                 .k = side_.head,
                 .transpose_b = true,
                 .lda = x.ld,
                 .ldb = side_.head,
                 .ldc = range.count});
  }
  // y (rows, head) = or += p side
  void times(T* y, bool accumulate, const T* p, int64_t slot, int64_t rows, RowRange range, char*) const {
    gemm_serial(y, p, row(slot, range.first),
                {.m = rows,
                 .n = side_.head,
                 .k = range.count,
                 .lda = range.count,
                 .ldb = side_.head,
                 .ldc = side_.head,
                 .accumulate = accumulate});
  }
  // sums[range] (head wide) = or += p^T x
  void add_transposed(T* sums, bool accumulate, const T* p, const Rows& x, int64_t rows, RowRange range,
                      char*) const {
    gemm_serial(sums + range.first * side_.head, p, x.x,
                {.m = range.count,
                 .n = side_.head,
                 .k = rows,
                 .transpose_a = true,
                 .lda = range.count,
                 .ldb = x.ld,
                 .ldc = side_.head,
                 .accumulate = accumulate});
  }

 private:
  T* row(int64_t slot, int64_t i) const {
    return static_cast<T*>(storage_.data()) + (slot * side_.rows + i) * side_.head;
  }

  Side<T> side_;
  Storage storage_;
};

// A side, of f32 or bf16, that is packed once a call, by prepare(); blocks are packed as they are made.
// times() is fastest over a whole chunk: `chunk` rows from a multiple of it on, or what is left of them.
template <class S>
class PackedOperand {
 public:
  using Element = float;
  using Stored = S;
  static constexpr int64_t kAlignment = kPackedWidth;
  // Sums over 256 queries run at twice the speed of those over 128 (1,450 GFLOP/s of one thread against 760).
  static constexpr BlockSizes kBackward{256, 256};

  struct Rows {
    bf16 *left, *right;  // (rows, head) as either operand; right: (rows, head) for add_transposed() only
  };

  PackedOperand(const Side<S>& side, OperandUse use, int64_t chunk, int64_t slots)
      : side_(side),
        use_(use),
        rows_(round_up(side.rows, kPackedWidth)),
        chunk_(chunk),
        transposed_size_(use == OperandUse::straight ? 0 : rows_ * packed_depth(side.head)),
        item_size_(transposed_size_ + (use == OperandUse::transposed ? 0 : rows_ * packed_width(side.head))),
        storage_(slots * item_size_ * sizeof(bf16), Device::cpu()) {}

  int64_t padded_rows() const { return rows_; }
  // Of take_rows(), and of a product over at most so many rows of the side.
  int64_t rows_bytes(int64_t rows) const {
    return (rows * packed_depth(side_.head) + packed_depth(rows) * packed_width(side_.head)) * sizeof(bf16);
  }
  int64_t scratch_bytes(int64_t rows, int64_t range) const {
    return rows * kPackedWidth * sizeof(float) + packed_depth(rows) * range * sizeof(bf16);
  }

  void prepare(int64_t slot, int64_t item) {
    const S* rows = side_.row(item, 0);
    if (use_ != OperandUse::straight)
      pack_right(transposed(slot), rows, side_.ld, true, side_.head, side_.rows);
    if (use_ != OperandUse::transposed) pack_straight(straight(slot), rows);
  }

  Rows take_rows(char*& memory, const float* x, int64_t ldx, int64_t rows, bool right_too) const {
    bf16* left = take<bf16>(memory, rows * packed_depth(side_.head));
    pack_left(left, x, ldx, false, rows, side_.head);
    if (!right_too) return {left, nullptr};
    bf16* right = take<bf16>(memory, packed_depth(rows) * packed_width(side_.head));
    pack_right(right, x, ldx, false, rows, side_.head);
    return {left, right};
  }

  void times_transposed(float* s, const Rows& x, int64_t slot, int64_t rows, RowRange range) const {
    const int64_t depth = packed_depth(side_.head);
    multiply(s, x.left, transposed(slot) + range.first * depth, rows, range.count, depth, false);
  }

  void times(float* y, bool accumulate, const float* p, int64_t slot, int64_t rows, RowRange range,
             char* scratch) const {
    float* part = take<float>(scratch, rows * kPackedWidth);
    bf16* left = reinterpret_cast<bf16*>(scratch);
    pack_left(left, p, range.count, false, rows, range.count);
    const int64_t head = side_.head, first = range.first / chunk_ * chunk_,
                  depth = std::min(chunk_, rows_ - first);
    const bf16* right = straight(slot) + first * packed_width(head);
    if (range.count == depth) return multiply(y, left, right, rows, head, depth, accumulate);
    // Of a chunk some rows are contiguous within a panel only.
    right += (range.first - first) * kPackedWidth;
    for (int64_t column = 0; column < head; column += kPackedWidth, right += depth * kPackedWidth) {
      const int64_t width = std::min(kPackedWidth, head - column);
      multiply(part, left, right, rows, width, range.count, false);
      for (int64_t row = 0; row < rows; ++row)
        write_row(y + row * head + column, part + row * width, width, nullptr, accumulate);
    }
  }

  void add_transposed(float* sums, bool accumulate, const float* p, const Rows& x, int64_t rows,
                      RowRange range, char* scratch) const {
    bf16* left = reinterpret_cast<bf16*>(scratch);
    pack_left(left, p, range.count, true, range.count, rows);
    multiply(sums + range.first * side_.head, left, x.right, range.count, side_.head, packed_depth(rows),
             accumulate);
  }

 private:
  // The side as (head, rows), and as (rows, head).
  bf16* transposed(int64_t slot) const { return static_cast<bf16*>(storage_.data()) + slot * item_size_; }
  bf16* straight(int64_t slot) const { return transposed(slot) + transposed_size_; }
  // Chunk after chunk, each in panels of its own. pack_right pads to a multiple of kPackedDepth only.
  void pack_straight(bf16* out, const S* rows) const {
    for (int64_t first = 0; first < rows_; first += chunk_) {
      const int64_t depth = std::min(chunk_, rows_ - first), filled = std::min(depth, side_.rows - first),
                    packed = packed_depth(filled);
      for (int64_t column = 0; column < side_.head; column += kPackedWidth, out += depth * kPackedWidth) {
        pack_right(out, rows + first * side_.ld + column, side_.ld, false, filled,
                   std::min(kPackedWidth, side_.head - column));
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

  Side<S> side_;
  OperandUse use_;
  int64_t rows_, chunk_;                 // padded
  int64_t transposed_size_, item_size_;  // elements
  Storage storage_;
};

}  // namespace tandem::cpu
