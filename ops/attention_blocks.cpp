// The block kernels of attention on the CPU, with or without relative positions. A task is a block of query
// rows of one batch item and head; it touches only keys that some row of the block sees.
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "core/array.h"
#include "core/parallel.h"
#include "ops/attention.h"
#include "ops/attention_products.h"
#include "ops/attention_rows.h"
#include "ops/round_bf16.h"
#include "ops/softmax.h"

namespace tandem::cpu {
namespace {

// Query rows of a block: more of them feed the matrix units better, fewer waste less on the masked triangle.
constexpr int64_t kRows = 128;

struct Block {
  int64_t begin, end;  // query rows
  RowRange keys, positions;
  int64_t rows() const { return end - begin; }
};

// Sizes and masks of one call, and where its blocks lie. Positions are numbered from the farthest on, as keys
// are: a query that sees n keys has the last n of them, or, beyond the first, shares that.
struct Layout {
  int64_t queries, batch, width, keys, positions, heads, head;
  CausalMask mask;
  double dropout;
  DropoutKey key;
  int64_t block;      // query rows
  int64_t alignment;  // ranges begin and end on multiples of it, the last one up to padding

  Layout(const Tensor& q, const Tensor& kv, const PositionTerm& term, const AttentionOptions& options,
         int64_t align)
      : queries(q.size(0)),
        batch(q.size(1)),
        width(q.size(2)),
        keys(kv.size(0)),
        positions(term.any() ? term.r.size(0) : 0),
        heads(options.heads),
        head(width / heads),
        mask{keys - queries, options.window},
        dropout(options.dropout),
        key(options.key),
        block(std::min(kRows, queries)),
        alignment(align) {}

  int64_t items() const { return batch * heads; }
  int64_t blocks() const { return (queries + block - 1) / block; }
  bool worth_threads() const { return items() * queries * keys > kParallelGrain; }
  int64_t visible(int64_t query) const { return mask.end(query) - mask.begin(query); }
  int64_t farthest(int64_t visible_keys) const { return positions - std::min(positions, visible_keys); }
  int64_t q_offset(int64_t item, int64_t row) const {
    return (row * batch + item / heads) * width + item % heads * head;
  }
  int64_t kv_offset(int64_t item, int64_t row) const {
    return (row * batch + item / heads) * 2 * width + item % heads * head;
  }
  int64_t mask_element(int64_t item, int64_t row) const { return (item * queries + row) * keys; }
  RowRange aligned(int64_t begin, int64_t end) const {
    const int64_t first = begin / alignment * alignment;
    return {first, round_up(end, alignment) - first};
  }
  Block block_at(int64_t index) const {
    const int64_t begin = index * block, end = std::min(queries, begin + block);
    return {begin, end, aligned(mask.begin(begin), mask.end(end - 1)),
            aligned(farthest(visible(end - 1)), positions)};
  }
};

// What blocks are multiplied with.
template <class Operand>
struct Products {
  using S = typename Operand::Stored;
  Operand keys, values, positions;

  Products(const Layout& at, const Tensor& kv, const PositionTerm& term, bool backward)
      : keys(side_of(at, kv, 0), backward ? OperandUse::both : OperandUse::transposed),
        values(side_of(at, kv, at.width), backward ? OperandUse::transposed : OperandUse::straight),
        positions(side_of(at, term), backward ? OperandUse::both : OperandUse::transposed) {}

  int64_t padded_head() const { return keys.padded_head(); }
  int64_t scratch_bytes(int64_t block_rows) const {
    return std::max(keys.scratch_bytes(block_rows), positions.scratch_bytes(block_rows));
  }
  void prepare(int64_t item) {
    keys.prepare(item);
    values.prepare(item);
    if (item < positions.items()) positions.prepare(item);
  }

 private:
  static Side<S> side_of(const Layout& at, const Tensor& kv, int64_t column) {
    const int64_t row = 2 * at.width;
    return {kv.data<S>() + column, at.keys, at.batch * row, at.batch, row, at.heads, at.head};
  }
  static Side<S> side_of(const Layout& at, const PositionTerm& term) {
    const S* farthest = term.any() ? term.r.data<S>() + (at.positions - 1) * at.width : nullptr;
    return {farthest, at.positions, -at.width, 1, 0, at.heads, at.head};
  }
};

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
void clear_hidden(T* row, RowRange range, int64_t begin, int64_t end) {
  std::fill(row, row + (begin - range.first), T(0));
  std::fill(row + (end - range.first), row + range.count, T(0));
}

template <class T>
struct ForwardArguments {
  T *y, *lse;
  const T *q, *position_q;
};

template <class Operand, class T>
void forward_block(const Layout& at, const Products<Operand>& products, char* memory,
                   const ForwardArguments<T>& x, int64_t item, const Block& block) {
  const int64_t ld = at.batch * at.width, rows = block.rows(), offset = at.q_offset(item, block.begin);
  T* s = take<T>(memory, rows * block.keys.count);
  T* s_position = take<T>(memory, rows * block.positions.count);
  T* out = take<T>(memory, rows * products.padded_head());
  T* factors = take<T>(memory, rows);
  T* drop = take<T>(memory, at.keys);
  const T scale = T(1) / std::sqrt(static_cast<T>(at.head));
  products.keys.times_transposed(s, x.q + offset, ld, item, rows, block.keys, memory);
  if (at.positions > 0)
    products.positions.times_transposed(s_position, x.position_q + offset, ld, item, rows, block.positions,
                                        memory);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t t = block.begin + i, begin = at.mask.begin(t), visible = at.visible(t);
    T* row = s + i * block.keys.count;
    clear_hidden(row, block.keys, begin, begin + visible);
    row += begin - block.keys.first;
    if (at.positions > 0)
      add_positions_row(row,
                        s_position + i * block.positions.count + at.farthest(visible) - block.positions.first,
                        visible, at.positions);
    const RowSoftmax<T> softmax = softmax_row(row, visible, scale);
    x.lse[item * at.queries + t] = softmax.shift + std::log(softmax.total);
    factors[i] = T(1) / softmax.total;
    if (at.dropout > 0) {
      dropout_mask_row(drop, at.mask_element(item, t) + begin, visible, at.dropout, at.key);
      multiply_row(row, drop, visible);
    }
  }
  products.values.times(out, s, item, rows, block.keys, memory);
  for (int64_t i = 0; i < rows; ++i)
    scale_row(x.y + offset + i * ld, out + i * products.padded_head(), at.head, factors[i]);
}

template <class T, class S>
struct BackwardArguments {
  T* dq;
  S* dkv;
  T *dposition_q, *dr;
  const T *dy, *q, *position_q, *y, *lse;
};

// Where a task adds up what its blocks give to the rows of each side.
template <class T>
struct Sums {
  T *keys, *values, *positions;
};

template <class Operand, class T>
void backward_block(const Layout& at, const Products<Operand>& products, char* memory, const Sums<T>& sums,
                    bool first, const BackwardArguments<T, typename Operand::Stored>& x, int64_t item,
                    const Block& block) {
  const int64_t ld = at.batch * at.width, rows = block.rows(), offset = at.q_offset(item, block.begin);
  T* p = take<T>(memory, rows * block.keys.count);
  T* ds = take<T>(memory, rows * block.keys.count);
  T* s_position = take<T>(memory, rows * block.positions.count);  // and then its gradient
  T* out = take<T>(memory, rows * products.padded_head());
  T* drop = take<T>(memory, at.keys);
  const T scale = T(1) / std::sqrt(static_cast<T>(at.head));
  const T *q = x.q + offset, *dy = x.dy + offset, *y = x.y + offset;
  products.keys.times_transposed(p, q, ld, item, rows, block.keys, memory);
  products.values.times_transposed(ds, dy, ld, item, rows, block.keys, memory);
  if (at.positions > 0)
    products.positions.times_transposed(s_position, x.position_q + offset, ld, item, rows, block.positions,
                                        memory);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t t = block.begin + i, begin = at.mask.begin(t), visible = at.visible(t);
    T* p_row = p + i * block.keys.count;
    T* ds_row = ds + i * block.keys.count;
    T* position_row = s_position + i * block.positions.count;
    const int64_t farthest = at.farthest(visible);
    clear_hidden(p_row, block.keys, begin, begin + visible);
    clear_hidden(ds_row, block.keys, begin, begin + visible);
    p_row += begin - block.keys.first;
    ds_row += begin - block.keys.first;
    if (at.positions > 0)
      add_positions_row(p_row, position_row + farthest - block.positions.first, visible, at.positions);
    if (at.dropout > 0) {
      dropout_mask_row(drop, at.mask_element(item, t) + begin, visible, at.dropout, at.key);
      multiply_row(ds_row, drop, visible);
    }
    const T delta = dot_row(dy + i * ld, y + i * ld, at.head);
    softmax_backward_row(p_row, ds_row, visible, scale, x.lse[item * at.queries + t], delta);
    if (at.dropout > 0) multiply_row(p_row, drop, visible);
    if (at.positions > 0) {
      clear_hidden(position_row, block.positions, farthest, at.positions);
      sum_by_position_row(position_row + farthest - block.positions.first, ds_row, visible, at.positions);
    }
  }
  const auto write = [&at, &block, &products, out, ld, offset](T* dq) {
    for (int64_t i = 0; i < block.rows(); ++i)
      std::copy_n(out + i * products.padded_head(), at.head, dq + offset + i * ld);
  };
  products.keys.times(out, ds, item, rows, block.keys, memory);
  write(x.dq);
  products.keys.add_transposed(sums.keys, !first, ds, q, ld, rows, block.keys, memory);
  products.values.add_transposed(sums.values, !first, p, dy, ld, rows, block.keys, memory);
  if (at.positions == 0) return;
  products.positions.times(out, s_position, item, rows, block.positions, memory);
  write(x.dposition_q);
  products.positions.add_transposed(sums.positions, !first, s_position, x.position_q + offset, ld, rows,
                                    block.positions, memory);
}

template <class Operand, class T>
void forward(const Layout& at, Products<Operand>& products, const ForwardArguments<T>& x) {
  const int64_t floats = at.block * (products.keys.padded_rows() + products.positions.padded_rows() +
                                     products.padded_head() + 1) +
                         at.keys;
  const ThreadScratch scratch(floats * sizeof(T) + products.scratch_bytes(at.block) + 4096,
                              omp_get_max_threads());
#pragma omp parallel if (at.worth_threads())
  {
    const SingleThreaded single;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < at.items(); ++item) products.prepare(item);
      // The last blocks see the most keys: first come the long tasks.
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < at.items() * at.blocks(); ++task)
      forward_block(at, products, scratch.own(), x, task % at.items(),
                    at.block_at(at.blocks() - 1 - task / at.items()));
  }
}

// Query blocks of one item add to the same dK and dV. So an item is one task, or, with few items, a fixed
// number of groups of blocks with sums of their own, which are then added in order: no result depends on the
// number of threads.
constexpr int64_t kBackwardTasks = 8;

// A task's first block overwrites the sums of what it sees; the others start from zero.
template <class T>
void clear_outside(T* sums, RowRange seen, int64_t rows, int64_t head) {
  std::fill(sums, sums + seen.first * head, T(0));
  std::fill(sums + seen.end() * head, sums + rows * head, T(0));
}

void put_row(bf16* y, const float* x, int64_t n) {
  round_to_bf16(y, x, n);
}
template <class T>
void put_row(T* y, const T* x, int64_t n) {
  std::copy_n(x, n, y);
}

template <class Operand, class T>
void backward(const Layout& at, Products<Operand>& products,
              const BackwardArguments<T, typename Operand::Stored>& x) {
  const int64_t groups = std::clamp((kBackwardTasks + at.items() - 1) / at.items(), int64_t{1}, at.blocks());
  const int64_t head = products.padded_head(), keys = products.keys.padded_rows(),
                positions = products.positions.padded_rows(), task_sums = (2 * keys + positions) * head;
  const Storage storage(at.items() * groups * task_sums * sizeof(T), Device::cpu());
  T* all_sums = static_cast<T*>(storage.data());
  const int64_t floats = at.block * (2 * keys + positions + head) + at.keys;
  const ThreadScratch scratch(floats * sizeof(T) + products.scratch_bytes(at.block) + 4096,
                              omp_get_max_threads());
#pragma omp parallel if (at.worth_threads())
  {
    const SingleThreaded single;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < at.items(); ++item) products.prepare(item);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < at.items() * groups; ++task) {
      T* own = all_sums + task * task_sums;
      const Sums<T> sums{own, own + keys * head, own + 2 * keys * head};
      const int64_t last = at.blocks() - 1 - task % groups;
      const Block longest = at.block_at(last);
      clear_outside(sums.keys, longest.keys, keys, head);
      clear_outside(sums.values, longest.keys, keys, head);
      clear_outside(sums.positions, longest.positions, positions, head);
      for (int64_t index = last; index >= 0; index -= groups)
        backward_block(at, products, scratch.own(), sums, index == last, x, task / groups,
                       at.block_at(index));
    }
    const auto add_group = [&at](T* target, const T* sums) {
      for (int64_t j = 0; j < at.head; ++j) target[j] += sums[j];
    };
#pragma omp for schedule(static)
    for (int64_t row = 0; row < at.items() * at.keys; ++row) {
      const int64_t item = row / at.keys, key = row % at.keys;
      for (int64_t half = 0; half < 2; ++half) {
        T* sum = all_sums + item * groups * task_sums + (half * keys + key) * head;
        for (int64_t group = 1; group < groups; ++group) add_group(sum, sum + group * task_sums);
        put_row(x.dkv + at.kv_offset(item, key) + half * at.width, sum, at.head);
      }
    }
    // All batch items share the positions.
#pragma omp for schedule(static)
    for (int64_t row = 0; row < at.positions * at.heads; ++row) {
      const int64_t h = row % at.heads, position = row / at.heads;
      T* target = x.dr + (at.positions - 1 - position) * at.width + h * at.head;
      std::fill_n(target, at.head, T(0));
      for (int64_t task = 0; task < at.batch * groups; ++task) {
        const int64_t item = task / groups * at.heads + h;
        add_group(target,
                  all_sums + (item * groups + task % groups) * task_sums + (2 * keys + position) * head);
      }
    }
  }
}

template <class T>
T* data_of(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

template <class Operand>
void forward(const Tensor& y, const Tensor& lse, const Tensor& q, const Tensor& kv, const PositionTerm& term,
             const AttentionKernel& kernel) {
  using T = typename Operand::Element;
  const Layout layout(q, kv, term, kernel.options, Operand::kAlignment);
  Products<Operand> products(layout, kv, term, false);
  forward(layout, products, ForwardArguments<T>{y.data<T>(), lse.data<T>(), q.data<T>(), data_of<T>(term.q)});
}

template <class Operand>
void backward(const Tensor& dq, const Tensor& dkv, const PositionTerm& dterm, const Tensor& dy,
              const Tensor& q, const Tensor& kv, const PositionTerm& term, const Tensor& y, const Tensor& lse,
              const AttentionKernel& kernel) {
  using T = typename Operand::Element;
  const Layout layout(q, kv, term, kernel.options, Operand::kAlignment);
  Products<Operand> products(layout, kv, term, true);
  backward(layout, products,
           BackwardArguments<T, typename Operand::Stored>{
               dq.data<T>(), dkv.data<typename Operand::Stored>(), data_of<T>(dterm.q), data_of<T>(dterm.r),
               dy.data<T>(), q.data<T>(), data_of<T>(term.q), y.data<T>(), lse.data<T>()});
}

bool in_bf16(const Tensor& q, const AttentionKernel& kernel) {
  return kernel.precision == MatmulPrecision::bf16 && q.dtype() == DType::f32;
}

}  // namespace

void attention_forward(const Tensor& y, const Tensor& lse, const Tensor& q, const Tensor& kv,
                       const PositionTerm& term, const AttentionKernel& kernel) {
  if (q.numel() == 0) return;
  if (kv.dtype() == DType::bf16) return forward<PackedOperand<bf16>>(y, lse, q, kv, term, kernel);
  if (in_bf16(q, kernel)) return forward<PackedOperand<float>>(y, lse, q, kv, term, kernel);
  FOR_FLOAT(q.dtype(), "attention", T, forward<PlainOperand<T>>(y, lse, q, kv, term, kernel));
}

// With A = P V, P = softmax(S), S = (Q K^T + shifted(Qp R^T)) / sqrt(d), and P replaced by P * mask where
// there is dropout:
//   dV = P^T dA    dP = dA V^T    dS = P (dP - delta) / sqrt(d)    dQ = dS K    dK = dS^T Q
// where delta = sum_j P dP = dA . A for each query (Dao et al., "FlashAttention", 2022, appendix B.2). Of the
// positions, with E the dS of each query summed by position:  dQp = E R    dR = E^T Qp.
void attention_backward(const Tensor& dq, const Tensor& dkv, const PositionTerm& dterm, const Tensor& dy,
                        const Tensor& q, const Tensor& kv, const PositionTerm& term, const Tensor& y,
                        const Tensor& lse, const AttentionKernel& kernel) {
  if (q.numel() == 0) {
    cpu::fill(dkv, 0);
    if (term.any()) cpu::fill(dterm.r, 0);
    return;
  }
  if (kv.dtype() == DType::bf16)
    return backward<PackedOperand<bf16>>(dq, dkv, dterm, dy, q, kv, term, y, lse, kernel);
  if (in_bf16(q, kernel))
    return backward<PackedOperand<float>>(dq, dkv, dterm, dy, q, kv, term, y, lse, kernel);
  FOR_FLOAT(q.dtype(), "attention", T,
            backward<PlainOperand<T>>(dq, dkv, dterm, dy, q, kv, term, y, lse, kernel));
}

}  // namespace tandem::cpu
