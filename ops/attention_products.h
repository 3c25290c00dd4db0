// The products of a block of attention, with two ways to run them: straight from the tensors (f32, f64), or
// from copies packed in bf16. Internal to attention_blocks.cpp.
//
// A block has `rows` query rows and sees keys first .. first + columns - 1 of its item (batch item and head).
// Matrices made here have no gaps between rows; those of width `head` are padded to padded_head().
#pragma once
#include <algorithm>

#include "core/storage.h"
#include "ops/gemm.h"
#include "ops/gemm_onednn.h"
#include "ops/gemm_pack.h"

namespace tandem::cpu {

enum AttentionSide { kKeys = 0, kValues = 1 };

// Keys and values as they lie in kv (keys, batch, 2 width).
template <class T>
struct KeyValues {
  const T* kv;
  int64_t keys, batch, width, heads;

  int64_t head() const { return width / heads; }
  int64_t ld() const { return batch * 2 * width; }
  const T* row(AttentionSide side, int64_t item, int64_t key) const {
    return kv + key * ld() + item / heads * 2 * width + side * width + item % heads * head();
  }
};

// Keys and values of an item are copied once a call, by prepare(): in kv their rows lie a whole batch apart,
// which would cost every product of every block.
template <class T>
class PlainProducts {
 public:
  explicit PlainProducts(KeyValues<T> kv)
      : kv_(kv), storage_(2 * kv.batch * kv.heads * kv.keys * kv.head() * sizeof(T), Device::cpu()) {}

  int64_t padded_head() const { return kv_.head(); }
  size_t scratch_bytes() const { return 0; }

  void prepare(int64_t item) {
    for (AttentionSide side : {kKeys, kValues})
      for (int64_t key = 0; key < kv_.keys; ++key)
        std::copy_n(kv_.row(side, item, key), kv_.head(), row(side, item, key));
  }

  // s (rows, columns) = x side^T
  void times_transposed(T* s, const T* x, int64_t ldx, AttentionSide side, int64_t item, int64_t rows,
                        int64_t first, int64_t columns, char*) const {
    const int64_t head = kv_.head();
    gemm_serial(
        s, x, row(side, item, first),
        {.m = rows, .n = columns, .k = head, .transpose_b = true, .lda = ldx, .ldb = head, .ldc = columns});
  }
  // y (rows, head) = p side
  void times(T* y, const T* p, AttentionSide side, int64_t item, int64_t rows, int64_t first, int64_t columns,
             char*) const {
    const int64_t head = kv_.head();
    gemm_serial(y, p, row(side, item, first),
                {.m = rows, .n = head, .k = columns, .lda = columns, .ldb = head, .ldc = head});
  }
  // sums (columns, head) = p^T x, or +=
  void add_transposed(T* sums, bool accumulate, const T* p, const T* x, int64_t ldx, int64_t rows,
                      int64_t columns, char*) const {
    const int64_t head = kv_.head();
    gemm_serial(sums, p, x,
                {.m = columns,
                 .n = head,
                 .k = rows,
                 .transpose_a = true,
                 .lda = columns,
                 .ldb = ldx,
                 .ldc = head,
                 .accumulate = accumulate});
  }

 private:
  T* row(AttentionSide side, int64_t item, int64_t key) const {
    return static_cast<T*>(storage_.data()) + ((2 * item + side) * kv_.keys + key) * kv_.head();
  }

  KeyValues<T> kv_;
  Storage storage_;
};

// Keys and values are packed once a call, by prepare(); blocks are packed as they are made. Key ranges must
// begin and end on multiples of kPackedWidth.
class PackedProducts {
 public:
  PackedProducts(KeyValues<float> kv, int64_t block_rows, bool backward)
      : kv_(kv),
        block_rows_(block_rows),
        backward_(backward),
        keys_(round_up(kv.keys, kPackedWidth)),
        item_size_(keys_ * (2 * packed_depth(kv.head()) + 2 * packed_width(kv.head()))),
        storage_(kv.batch * kv.heads * item_size_ * sizeof(bf16), Device::cpu()) {}

  int64_t padded_head() const { return packed_width(kv_.head()); }
  // The left operand; the right one, or a panel of a product.
  size_t scratch_bytes() const { return left_bytes() + block_rows_ * padded_head() * sizeof(float); }

  void prepare(int64_t item) {
    for (AttentionSide side : {kKeys, kValues}) {
      const float* rows = kv_.row(side, item, 0);
      // Forward needs K^T and V, backward K^T, V^T and K.
      if (side == kKeys || backward_)
        pack_right(across(side, item), rows, kv_.ld(), true, kv_.head(), kv_.keys);
      if (side == kValues ? !backward_ : backward_) pack_down(down(side, item), rows);
    }
  }

  void times_transposed(float* s, const float* x, int64_t ldx, AttentionSide side, int64_t item, int64_t rows,
                        int64_t first, int64_t columns, char* scratch) const {
    bf16* left = reinterpret_cast<bf16*>(scratch);
    const int64_t depth = packed_depth(kv_.head());
    pack_left(left, x, ldx, false, rows, kv_.head());
    multiply(s, left, across(side, item) + first * depth, rows, columns, depth, false);
  }

  void times(float* y, const float* p, AttentionSide side, int64_t item, int64_t rows, int64_t first,
             int64_t columns, char* scratch) const {
    bf16* left = reinterpret_cast<bf16*>(scratch);
    float* part = reinterpret_cast<float*>(scratch + left_bytes());
    pack_left(left, p, columns, false, rows, columns);
    // A range of rows is contiguous within a panel only.
    const int64_t panels = padded_head() / kPackedWidth;
    for (int64_t panel = 0; panel < panels; ++panel) {
      const bf16* right = down(side, item) + (panel * keys_ + first) * kPackedWidth;
      multiply(panels == 1 ? y : part, left, right, rows, kPackedWidth, columns, false);
      for (int64_t row = 0; row < rows && panels > 1; ++row)
        std::copy_n(part + row * kPackedWidth, kPackedWidth, y + row * padded_head() + panel * kPackedWidth);
    }
  }

  void add_transposed(float* sums, bool accumulate, const float* p, const float* x, int64_t ldx, int64_t rows,
                      int64_t columns, char* scratch) const {
    bf16* left = reinterpret_cast<bf16*>(scratch);
    bf16* right = reinterpret_cast<bf16*>(scratch + left_bytes());
    pack_left(left, p, columns, true, columns, rows);
    pack_right(right, x, ldx, false, rows, kv_.head());
    multiply(sums, left, right, columns, padded_head(), packed_depth(rows), accumulate);
  }

 private:
  size_t left_bytes() const { return block_rows_ * std::max(keys_, packed_depth(kv_.head())) * sizeof(bf16); }
  // The side as (head, keys): its transpose.
  bf16* across(AttentionSide side, int64_t item) const {
    return static_cast<bf16*>(storage_.data()) + item * item_size_ + side * keys_ * packed_depth(kv_.head());
  }
  // The side as (keys, head).
  bf16* down(AttentionSide side, int64_t item) const {
    return across(kKeys, item) + keys_ * (2 * packed_depth(kv_.head()) + side * padded_head());
  }
  // Panels one after the other, keys_ rows each; pack_right pads to a multiple of kPackedDepth only.
  void pack_down(bf16* out, const float* rows) const {
    const int64_t packed = packed_depth(kv_.keys), panels = padded_head() / kPackedWidth;
    for (int64_t panel = 0; panel < panels; ++panel, out += keys_ * kPackedWidth) {
      const int64_t column = panel * kPackedWidth;
      pack_right(out, rows + column, kv_.ld(), false, kv_.keys, std::min(kPackedWidth, kv_.head() - column));
      std::fill_n(reinterpret_cast<uint16_t*>(out) + packed * kPackedWidth, (keys_ - packed) * kPackedWidth,
                  uint16_t{0});
    }
  }
  static void multiply(float* c, const bf16* left, const bf16* right, int64_t m, int64_t n, int64_t k,
                       bool accumulate) {
    note_gemm({m, n, k, false, false, accumulate, DType::bf16, true, 1});
    onednn_multiply_packed(c, left, right, m, n, k, accumulate);
  }

  KeyValues<float> kv_;
  int64_t block_rows_;
  bool backward_;
  int64_t keys_;       // padded
  int64_t item_size_;  // elements
  Storage storage_;
};

}  // namespace tandem::cpu
