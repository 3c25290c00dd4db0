// The products of a block of attention, with two ways to run them: straight from the tensors (f32, f64), or
// from copies packed in bf16. Internal to attention_blocks.cpp.
//
// A block has `rows` query rows and sees a range of the rows of each side (keys, values, positions) of its
// item (batch item and head). Matrices made here have no gaps between rows; those of width `head` are padded
// to padded_head().
#pragma once
#include <algorithm>

#include "core/storage.h"
#include "ops/gemm.h"
#include "ops/gemm_onednn.h"
#include "ops/gemm_pack.h"

namespace tandem::cpu {

// A matrix (rows, head) for every item, as it lies in a tensor.
template <class T>
struct Side {
  const T* data;
  int64_t rows, ld;             // ld < 0: the tensor's last row comes first
  int64_t batch, batch_stride;  // a batch of 1 is shared by all items
  int64_t heads, head;

  int64_t items() const { return batch * heads; }
  const T* row(int64_t item, int64_t i) const {
    return data + i * ld + item / heads * batch_stride + item % heads * head;
  }
};

struct RowRange {
  int64_t first, count;
  int64_t end() const { return first + count; }
};

// Which of times_transposed() and times() will be asked for.
enum class OperandUse { transposed, straight, both };

// A side that is copied once a call, by prepare(): in the tensor its rows lie a whole batch apart, which
// would cost every product of every block.
template <class T>
class PlainOperand {
 public:
  using Element = T;
  using Stored = T;
  static constexpr int64_t kAlignment = 1;  // of ranges

  PlainOperand(const Side<T>& side, OperandUse)
      : side_(side), storage_(side.items() * side.rows * side.head * sizeof(T), Device::cpu()) {}

  int64_t items() const { return side_.items(); }
  int64_t padded_rows() const { return side_.rows; }
  int64_t padded_head() const { return side_.head; }
  int64_t scratch_bytes(int64_t) const { return 0; }

  void prepare(int64_t item) {
    for (int64_t i = 0; i < side_.rows; ++i) std::copy_n(side_.row(item, i), side_.head, row(item, i));
  }

  // s (rows, range) = x side^T
  void times_transposed(T* s, const T* x, int64_t ldx, int64_t item, int64_t rows, RowRange range,
                        char*) const {
    gemm_serial(s, x, row(item, range.first),
                {.m = rows,
                 .n = range.count,
                 .k = side_.head,
                 .transpose_b = true,
                 .lda = ldx,
                 .ldb = side_.head,
                 .ldc = range.count});
  }
  // y (rows, head) = p side
  void times(T* y, const T* p, int64_t item, int64_t rows, RowRange range, char*) const {
    gemm_serial(y, p, row(item, range.first),
                {.m = rows,
                 .n = side_.head,
                 .k = range.count,
                 .lda = range.count,
                 .ldb = side_.head,
                 .ldc = side_.head});
  }
  // sums (rows of the side, head), in the range = p^T x, or +=
  void add_transposed(T* sums, bool accumulate, const T* p, const T* x, int64_t ldx, int64_t rows,
                      RowRange range, char*) const {
    gemm_serial(sums + range.first * side_.head, p, x,
                {.m = range.count,
                 .n = side_.head,
                 .k = rows,
                 .transpose_a = true,
                 .lda = range.count,
                 .ldb = ldx,
                 .ldc = side_.head,
                 .accumulate = accumulate});
  }

 private:
  T* row(int64_t item, int64_t i) const {
    return static_cast<T*>(storage_.data()) + (item % items() * side_.rows + i) * side_.head;
  }

  Side<T> side_;
  Storage storage_;
};

// A side, of f32 or bf16, that is packed once a call, by prepare(); blocks are packed as they are made.
template <class S>
class PackedOperand {
 public:
  using Element = float;
  using Stored = S;
  static constexpr int64_t kAlignment = kPackedWidth;

  PackedOperand(const Side<S>& side, OperandUse use)
      : side_(side),
        use_(use),
        rows_(round_up(side.rows, kPackedWidth)),
        transposed_size_(use == OperandUse::straight ? 0 : rows_ * packed_depth(side.head)),
        item_size_(transposed_size_ + (use == OperandUse::transposed ? 0 : rows_ * packed_width(side.head))),
        storage_(side.items() * item_size_ * sizeof(bf16), Device::cpu()) {}

  int64_t items() const { return side_.items(); }
  int64_t padded_rows() const { return rows_; }
  int64_t padded_head() const { return packed_width(side_.head); }
  // The right operand, or a panel of a product; and the left one.
  int64_t scratch_bytes(int64_t block_rows) const {
    return right_bytes(block_rows) +
           packed_depth(block_rows) * std::max(rows_, packed_depth(side_.head)) * sizeof(bf16);
  }

  void prepare(int64_t item) {
    const S* rows = side_.row(item, 0);
    if (use_ != OperandUse::straight)
      pack_right(transposed(item), rows, side_.ld, true, side_.head, side_.rows);
    if (use_ != OperandUse::transposed) pack_straight(straight(item), rows);
  }

  void times_transposed(float* s, const float* x, int64_t ldx, int64_t item, int64_t rows, RowRange range,
                        char* scratch) const {
    bf16* left = left_in(scratch, rows);
    const int64_t depth = packed_depth(side_.head);
    pack_left(left, x, ldx, false, rows, side_.head);
    multiply(s, left, transposed(item) + range.first * depth, rows, range.count, depth, false);
  }

  void times(float* y, const float* p, int64_t item, int64_t rows, RowRange range, char* scratch) const {
    float* part = reinterpret_cast<float*>(scratch);
    bf16* left = left_in(scratch, rows);
    pack_left(left, p, range.count, false, rows, range.count);
    // A range of rows is contiguous within a panel only.
    const int64_t panels = padded_head() / kPackedWidth;
    for (int64_t panel = 0; panel < panels; ++panel) {
      const bf16* right = straight(item) + (panel * rows_ + range.first) * kPackedWidth;
      multiply(panels == 1 ? y : part, left, right, rows, kPackedWidth, range.count, false);
      for (int64_t row = 0; row < rows && panels > 1; ++row)
        std::copy_n(part + row * kPackedWidth, kPackedWidth, y + row * padded_head() + panel * kPackedWidth);
    }
  }

  void add_transposed(float* sums, bool accumulate, const float* p, const float* x, int64_t ldx, int64_t rows,
                      RowRange range, char* scratch) const {
    bf16* right = reinterpret_cast<bf16*>(scratch);
    bf16* left = left_in(scratch, rows);
    pack_left(left, p, range.count, true, range.count, rows);
    pack_right(right, x, ldx, false, rows, side_.head);
    multiply(sums + range.first * padded_head(), left, right, range.count, padded_head(), packed_depth(rows),
             accumulate);
  }

 private:
  int64_t right_bytes(int64_t rows) const { return packed_depth(rows) * padded_head() * sizeof(float); }
  bf16* left_in(char* scratch, int64_t rows) const {
    return reinterpret_cast<bf16*>(scratch + right_bytes(rows));
  }
  // The side as (head, rows), and as (rows, head).
  bf16* transposed(int64_t item) const {
    return static_cast<bf16*>(storage_.data()) + item % items() * item_size_;
  }
  bf16* straight(int64_t item) const { return transposed(item) + transposed_size_; }
  // Panels one after the other, rows_ rows each; pack_right pads to a multiple of kPackedDepth only.
  void pack_straight(bf16* out, const S* rows) const {
    const int64_t packed = packed_depth(side_.rows), panels = padded_head() / kPackedWidth;
    for (int64_t panel = 0; panel < panels; ++panel, out += rows_ * kPackedWidth) {
      const int64_t column = panel * kPackedWidth;
      pack_right(out, rows + column, side_.ld, false, side_.rows,
                 std::min(kPackedWidth, side_.head - column));
      std::fill_n(reinterpret_cast<uint16_t*>(out) + packed * kPackedWidth, (rows_ - packed) * kPackedWidth,
                  uint16_t{0});
    }
  }
  static void multiply(float* c, const bf16* left, const bf16* right, int64_t m, int64_t n, int64_t k,
                       bool accumulate) {
    note_gemm({m, n, k, false, false, accumulate, DType::bf16, true, 1});
    onednn_multiply_packed(c, left, right, m, n, k, accumulate);
  }

  Side<S> side_;
  OperandUse use_;
  int64_t rows_;                         // padded
  int64_t transposed_size_, item_size_;  // elements
  Storage storage_;
};

}  // namespace tandem::cpu
