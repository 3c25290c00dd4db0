// The block kernels of causal attention on the CPU. A task is a block of query rows of one batch item and
// head; it touches only keys that some row of the block sees.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/array.h"
#include "core/math.h"
#include "core/parallel.h"
#include "ops/attention.h"
#include "ops/attention_products.h"
#include "ops/softmax.h"

namespace tandem::cpu {
namespace {

template <class T>
struct RowSoftmax {
  T total, lse;
};

// s = exp(scale s - largest), not yet divided by the total: that is left to the d outputs.
template <class T>
TANDEM_INLINE RowSoftmax<T> softmax_body(T* s, int64_t n, T scale) {
  T largest = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t j = 0; j < n; ++j) largest = s[j] > largest ? s[j] : largest;
  const T shift = largest * scale;
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < n; ++j) {
    s[j] = fast_exp(s[j] * scale - shift);
    total += s[j];
  }
  return {total, shift};
}
TANDEM_SIMD RowSoftmax<float> softmax_row(float* s, int64_t n, float scale) {
  return softmax_body(s, n, scale);
}
TANDEM_SIMD RowSoftmax<double> softmax_row(double* s, int64_t n, double scale) {
  return softmax_body(s, n, scale);
}

template <class T>
TANDEM_INLINE void multiply_body(T* y, const T* x, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] *= x[j];
}
TANDEM_SIMD void multiply_row(float* y, const float* x, int64_t n) {
  multiply_body(y, x, n);
}
TANDEM_SIMD void multiply_row(double* y, const double* x, int64_t n) {
  multiply_body(y, x, n);
}

template <class T>
TANDEM_INLINE void scale_body(T* y, const T* x, int64_t n, T factor) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] = x[j] * factor;
}
TANDEM_SIMD void scale_row(float* y, const float* x, int64_t n, float factor) {
  scale_body(y, x, n, factor);
}
TANDEM_SIMD void scale_row(double* y, const double* x, int64_t n, double factor) {
  scale_body(y, x, n, factor);
}

template <class T>
TANDEM_INLINE T dot_body(const T* x, const T* y, int64_t n) {
  T dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t j = 0; j < n; ++j) dot += x[j] * y[j];
  return dot;
}
TANDEM_SIMD float dot_row(const float* x, const float* y, int64_t n) {
  return dot_body(x, y, n);
}
TANDEM_SIMD double dot_row(const double* x, const double* y, int64_t n) {
  return dot_body(x, y, n);
}

// From scores s and dP in dp:  s = P = exp(scale s - lse),  dp = dS = P (dP - delta) scale.
template <class T>
TANDEM_INLINE void backward_body(T* s, T* dp, int64_t n, T scale, T lse, T delta) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    s[j] = fast_exp(s[j] * scale - lse);
    dp[j] = s[j] * (dp[j] - delta) * scale;
  }
}
TANDEM_SIMD void backward_row(float* s, float* dp, int64_t n, float scale, float lse, float delta) {
  backward_body(s, dp, n, scale, lse, delta);
}
TANDEM_SIMD void backward_row(double* s, double* dp, int64_t n, double scale, double lse, double delta) {
  backward_body(s, dp, n, scale, lse, delta);
}

// Sizes and masks of one call, and where its blocks lie.
struct Layout {
  int64_t queries, batch, width, keys, heads, head;
  CausalMask mask;
  double dropout;
  DropoutKey key;
  int64_t block;      // query rows
  int64_t alignment;  // first and last key of a block's range are multiples of it, the last up to padding

  Layout(const Tensor& q, const Tensor& kv, const AttentionOptions& options, int64_t block_rows,
         int64_t align)
      : queries(q.size(0)),
        batch(q.size(1)),
        width(q.size(2)),
        keys(kv.size(0)),
        heads(options.heads),
        head(width / heads),
        mask{keys - queries, options.window},
        dropout(options.dropout),
        key(options.key),
        block(block_rows),
        alignment(align) {}

  int64_t items() const { return batch * heads; }
  int64_t blocks() const { return (queries + block - 1) / block; }
  int64_t padded_keys() const { return round_up(keys, alignment); }
  int64_t q_offset(int64_t item, int64_t row) const {
    return (row * batch + item / heads) * width + item % heads * head;
  }
  int64_t kv_offset(int64_t item, int64_t row) const {
    return (row * batch + item / heads) * 2 * width + item % heads * head;
  }
  int64_t mask_element(int64_t item, int64_t row) const { return (item * queries + row) * keys; }
};

struct Block {
  int64_t begin, end;      // query rows
  int64_t first, columns;  // of the key range
  int64_t rows() const { return end - begin; }
};

Block block_at(const Layout& layout, int64_t index) {
  Block block;
  block.begin = index * layout.block;
  block.end = std::min(layout.queries, block.begin + layout.block);
  block.first = layout.mask.begin(block.begin) / layout.alignment * layout.alignment;
  block.columns = round_up(layout.mask.end(block.end - 1), layout.alignment) - block.first;
  return block;
}

// Scratch of each thread, one piece of memory taken before the threads start.
class ThreadScratch {
 public:
  ThreadScratch(size_t bytes, int threads)
      : bytes_(round_up(static_cast<int64_t>(bytes), 512)), storage_(bytes_ * threads, Device::cpu()) {}
  char* own() const { return static_cast<char*>(storage_.data()) + bytes_ * omp_get_thread_num(); }

 private:
  size_t bytes_;
  Storage storage_;
};

template <class T>
T* take(char*& memory, int64_t count) {
  T* taken = reinterpret_cast<T*>(memory);
  memory += round_up(count * static_cast<int64_t>(sizeof(T)), 64);
  return taken;
}

// Zeros outside of what the row sees, so that products may run over the whole range.
template <class T>
void clear_hidden(T* row, const Block& block, int64_t begin, int64_t end) {
  std::fill(row, row + (begin - block.first), T(0));
  std::fill(row + (end - block.first), row + block.columns, T(0));
}

template <class T, class Products>
void forward_block(const Layout& at, const Products& products, char* memory, T* y, T* lse, const T* q,
                   int64_t item, const Block& block) {
  T* s = take<T>(memory, at.block * at.padded_keys());
  T* out = take<T>(memory, at.block * products.padded_head());
  T* factors = take<T>(memory, at.block);
  T* drop = take<T>(memory, at.keys);
  const T scale = T(1) / std::sqrt(static_cast<T>(at.head));
  products.times_transposed(s, q + at.q_offset(item, block.begin), at.batch * at.width, kKeys, item,
                            block.rows(), block.first, block.columns, memory);
  for (int64_t i = 0; i < block.rows(); ++i) {
    const int64_t t = block.begin + i, begin = at.mask.begin(t), visible = at.mask.end(t) - begin;
    T* row = s + i * block.columns;
    clear_hidden(row, block, begin, begin + visible);
    const RowSoftmax<T> softmax = softmax_row(row + begin - block.first, visible, scale);
    lse[item * at.queries + t] = softmax.lse + std::log(softmax.total);
    factors[i] = T(1) / softmax.total;
    if (at.dropout > 0) {
      dropout_mask_row(drop, at.mask_element(item, t) + begin, visible, at.dropout, at.key);
      multiply_row(row + begin - block.first, drop, visible);
    }
  }
  products.times(out, s, kValues, item, block.rows(), block.first, block.columns, memory);
  for (int64_t i = 0; i < block.rows(); ++i)
    scale_row(y + at.q_offset(item, block.begin + i), out + i * products.padded_head(), at.head, factors[i]);
}

template <class T>
struct BackwardArguments {
  T *dq, *dkv;
  const T *dy, *q, *y, *lse;
};

template <class T, class Products>
void backward_block(const Layout& at, const Products& products, char* memory, T* dk, T* dv, bool first,
                    const BackwardArguments<T>& x, int64_t item, const Block& block) {
  T* p = take<T>(memory, at.block * at.padded_keys());
  T* ds = take<T>(memory, at.block * at.padded_keys());
  T* out = take<T>(memory, at.block * products.padded_head());
  T* drop = take<T>(memory, at.keys);
  const T scale = T(1) / std::sqrt(static_cast<T>(at.head));
  const int64_t ld = at.batch * at.width, rows = block.rows();
  const T* q = x.q + at.q_offset(item, block.begin);
  const T* dy = x.dy + at.q_offset(item, block.begin);
  const T* y = x.y + at.q_offset(item, block.begin);
  products.times_transposed(p, q, ld, kKeys, item, rows, block.first, block.columns, memory);
  products.times_transposed(ds, dy, ld, kValues, item, rows, block.first, block.columns, memory);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t t = block.begin + i, begin = at.mask.begin(t), visible = at.mask.end(t) - begin;
    T* p_row = p + i * block.columns;
    T* ds_row = ds + i * block.columns;
    clear_hidden(p_row, block, begin, begin + visible);
    clear_hidden(ds_row, block, begin, begin + visible);
    p_row += begin - block.first;
    ds_row += begin - block.first;
    if (at.dropout > 0) {
      dropout_mask_row(drop, at.mask_element(item, t) + begin, visible, at.dropout, at.key);
      multiply_row(ds_row, drop, visible);
    }
    const T delta = dot_row(dy + i * ld, y + i * ld, at.head);
    backward_row(p_row, ds_row, visible, scale, x.lse[item * at.queries + t], delta);
    if (at.dropout > 0) multiply_row(p_row, drop, visible);
  }
  products.times(out, ds, kKeys, item, rows, block.first, block.columns, memory);
  for (int64_t i = 0; i < rows; ++i)
    scale_row(x.dq + at.q_offset(item, block.begin + i), out + i * products.padded_head(), at.head, T(1));
  products.add_transposed(dk + block.first * products.padded_head(), !first, ds, q, ld, rows, block.columns,
                          memory);
  products.add_transposed(dv + block.first * products.padded_head(), !first, p, dy, ld, rows, block.columns,
                          memory);
}

template <class T, class Products>
void forward(const Layout& at, Products& products, T* y, T* lse, const T* q) {
  const int64_t floats = at.block * (at.padded_keys() + products.padded_head() + 1) + at.keys;
  const ThreadScratch scratch(floats * sizeof(T) + products.scratch_bytes() + 4096, omp_get_max_threads());
  const bool parallel = at.items() * at.queries * at.keys > kParallelGrain;
#pragma omp parallel if (parallel)
  {
    const SingleThreaded single;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < at.items(); ++item) products.prepare(item);
      // The last blocks see the most keys: first come the long tasks.
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < at.items() * at.blocks(); ++task)
      forward_block(at, products, scratch.own(), y, lse, q, task % at.items(),
                    block_at(at, at.blocks() - 1 - task / at.items()));
  }
}

// Query blocks of one item add to the same dK and dV. So an item is one task, or, with few items, a fixed
// number of groups of blocks with sums of their own, which are then added in order: no result depends on the
// number of threads.
constexpr int64_t kBackwardTasks = 8;

// A task's first block overwrites the sums of the keys that it sees; the others start from zero.
template <class T>
void clear_outside(T* dk, T* dv, const Block& block, int64_t sums, int64_t head) {
  for (T* side : {dk, dv}) {
    std::fill(side, side + block.first * head, T(0));
    std::fill(side + (block.first + block.columns) * head, side + sums, T(0));
  }
}

template <class T, class Products>
void backward(const Layout& at, Products& products, const BackwardArguments<T>& x) {
  const int64_t groups = std::clamp((kBackwardTasks + at.items() - 1) / at.items(), int64_t{1}, at.blocks());
  const int64_t head = products.padded_head(), sums = at.padded_keys() * head;
  const Storage storage(at.items() * groups * 2 * sums * sizeof(T), Device::cpu());
  T* all_sums = static_cast<T*>(storage.data());
  const int64_t floats = at.block * (2 * at.padded_keys() + head) + at.keys;
  const ThreadScratch scratch(floats * sizeof(T) + products.scratch_bytes() + 4096, omp_get_max_threads());
  const bool parallel = at.items() * at.queries * at.keys > kParallelGrain;
#pragma omp parallel if (parallel)
  {
    const SingleThreaded single;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < at.items(); ++item) products.prepare(item);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < at.items() * groups; ++task) {
      T* dk = all_sums + task * 2 * sums;
      const int64_t last = at.blocks() - 1 - task % groups;
      clear_outside(dk, dk + sums, block_at(at, last), sums, head);
      for (int64_t index = last; index >= 0; index -= groups)
        backward_block(at, products, scratch.own(), dk, dk + sums, index == last, x, task / groups,
                       block_at(at, index));
    }
#pragma omp for schedule(static)
    for (int64_t row = 0; row < at.items() * at.keys; ++row) {
      const int64_t item = row / at.keys, key = row % at.keys;
      for (int64_t half = 0; half < 2; ++half) {
        T* target = x.dkv + at.kv_offset(item, key) + half * at.width;
        const T* part = all_sums + (item * groups * 2 + half) * sums + key * head;
        std::copy_n(part, at.head, target);
        for (int64_t group = 1; group < groups; ++group)
          for (int64_t j = 0; j < at.head; ++j) target[j] += part[group * 2 * sums + j];
      }
    }
  }
}

// Query rows of a block: more of them feed the matrix units better, fewer waste less on the masked triangle.
constexpr int64_t kRows = 128;

}  // namespace

void attention_forward(const Tensor& y, const Tensor& lse, const Tensor& q, const Tensor& kv,
                       const AttentionKernel& kernel) {
  if (q.numel() == 0) return;
  if (kernel.precision == MatmulPrecision::bf16 && q.dtype() == DType::f32) {
    const Layout layout(q, kv, kernel.options, kRows, kPackedWidth);
    PackedProducts products({kv.data<float>(), kv.size(0), layout.batch, layout.width, layout.heads}, kRows,
                            false);
    return forward(layout, products, y.data<float>(), lse.data<float>(), q.data<float>());
  }
  FOR_FLOAT(q.dtype(), "causal_attention", T, {
    const Layout layout(q, kv, kernel.options, kRows, 1);
    PlainProducts<T> products({kv.data<T>(), kv.size(0), layout.batch, layout.width, layout.heads});
    forward(layout, products, y.data<T>(), lse.data<T>(), q.data<T>());
  });
}

// With A = P V, P = softmax(S), S = Q K^T / sqrt(d), and P replaced by P * mask where there is dropout:
//   dV = P^T dA    dP = dA V^T    dS = P (dP - delta) / sqrt(d)    dQ = dS K    dK = dS^T Q
// where delta = sum_j P dP = dA . A for each query (Dao et al., "FlashAttention", 2022, appendix B.2).
void attention_backward(const Tensor& dq, const Tensor& dkv, const Tensor& dy, const Tensor& q,
                        const Tensor& kv, const Tensor& y, const Tensor& lse, const AttentionKernel& kernel) {
  if (q.numel() == 0) return cpu::fill(dkv, 0);
  if (kernel.precision == MatmulPrecision::bf16 && q.dtype() == DType::f32) {
    using T = float;
    const Layout layout(q, kv, kernel.options, kRows, kPackedWidth);
    PackedProducts products({kv.data<T>(), kv.size(0), layout.batch, layout.width, layout.heads}, kRows,
                            true);
    return backward<T>(layout, products,
                       {dq.data<T>(), dkv.data<T>(), dy.data<T>(), q.data<T>(), y.data<T>(), lse.data<T>()});
  }
  FOR_FLOAT(q.dtype(), "causal_attention", T, {
    const Layout layout(q, kv, kernel.options, kRows, 1);
    PlainProducts<T> products({kv.data<T>(), kv.size(0), layout.batch, layout.width, layout.heads});
    backward<T>(layout, products,
                {dq.data<T>(), dkv.data<T>(), dy.data<T>(), q.data<T>(), y.data<T>(), lse.data<T>()});
  });
}

}  // namespace tandem::cpu
