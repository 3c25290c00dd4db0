// The block kernels of attention on the CPU, with or without relative positions. A block is some query rows
// of one batch item and head; it reads only keys that at least one of its rows sees.
#include <algorithm>
#include <cmath>

#include "tandem/core/array.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/attention_cpu/layout.h"
#include "tandem/ops/attention_cpu/operands.h"
#include "tandem/ops/attention_cpu/row_loops.h"
#include "tandem/ops/gemm/round_bf16.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/support/data_or_null.h"
#include "tandem/ops/support/thread_scratch.h"

namespace tandem::cpu {
namespace {

// More query rows use the matrix units better; fewer waste less work on the masked triangle.
constexpr BlockSizes kForward{128, kAllKeys};

// The query blocks of one item add to the same dK and dV. So an item is one task, or, with few items, a fixed
// number of groups of blocks, each with its own sums, which are added in a fixed order afterwards. No result
// depends on the number of threads.
constexpr int64_t kBackwardTasks = 8;

template <class T>
struct ForwardArguments {
  T *y, *lse;
  const T *q, *position_q;
};

template <class Operand, class T>
void forward_block(const AttentionLayout& at, const AttentionProducts<Operand>& products, char* memory,
                   const ForwardArguments<T>& x, int64_t item, const QueryBlock& block) {
  const int64_t ld = at.batch * at.width, rows = block.rows(), offset = at.q_offset(item, block.begin);
  T* s = take<T>(memory, rows * block.keys.count);
  T* s_position = take<T>(memory, rows * block.positions.count);
  T* out = take<T>(memory, rows * at.head);
  T* factors = take<T>(memory, rows);
  T* drop = take<T>(memory, at.keys);
  const T scale = T(1) / std::sqrt(static_cast<T>(at.head));
  const auto q = products.keys.load_rows(memory, x.q + offset, ld, rows, false);
  products.keys.matmul_nt(s, q, item, rows, block.keys);
  if (at.positions > 0) {
    const auto position_q = products.positions.load_rows(memory, x.position_q + offset, ld, rows, false);
    products.positions.matmul_nt(s_position, position_q, item % at.heads, rows, block.positions);
  }
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t t = block.begin + i, begin = at.mask.begin(t), visible = at.visible(t);
    T* row = s + i * block.keys.count;
    clear_hidden(row, block.keys, {begin, visible});
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
  products.values.matmul_nn(out, false, s, item, rows, block.keys, memory);
  for (int64_t i = 0; i < rows; ++i) scale_row(x.y + offset + i * ld, out + i * at.head, at.head, factors[i]);
}

template <class T, class S>
struct BackwardArguments {
  T* dq;
  S* dkv;
  T *dposition_q, *dr;
  const T *dy, *q, *position_q, *y, *lse;
};

// The gradients of a task's keys, values and positions, to which its blocks add.
template <class T>
struct Sums {
  T *keys, *values, *positions;
};

template <class Operand, class T>
void backward_block(const AttentionLayout& at, const AttentionProducts<Operand>& products, char* memory,
                    const Sums<T>& sums, bool first, const BackwardArguments<T, typename Operand::Stored>& x,
                    int64_t slot, int64_t item, const QueryBlock& block) {
  const int64_t ld = at.batch * at.width, rows = block.rows(), offset = at.q_offset(item, block.begin),
                widest = std::min(at.chunk, block.keys.count);
  T* p = take<T>(memory, rows * widest);
  T* ds = take<T>(memory, rows * widest);
  T* s_position = take<T>(memory, rows * block.positions.count);  // overwritten by its gradient
  T* out = take<T>(memory, rows * at.head);
  T* delta = take<T>(memory, rows);
  T* drop = take<T>(memory, at.keys);
  const T scale = T(1) / std::sqrt(static_cast<T>(at.head));
  const auto q = products.keys.load_rows(memory, x.q + offset, ld, rows, true);
  const auto dy = products.values.load_rows(memory, x.dy + offset, ld, rows, true);
  typename Operand::Rows position_q{};
  if (at.positions > 0) {
    position_q = products.positions.load_rows(memory, x.position_q + offset, ld, rows, true);
    products.positions.matmul_nt(s_position, position_q, item % at.heads, rows, block.positions);
  }
  for (int64_t i = 0; i < rows; ++i)
    delta[i] = dot_row(x.dy + offset + i * ld, x.y + offset + i * ld, at.head);

  for (RowRange keys = at.chunk_at(block, block.keys.first); keys.count > 0;
       keys = at.chunk_at(block, keys.end())) {
    products.keys.matmul_nt(p, q, slot, rows, keys);
    products.values.matmul_nt(ds, dy, slot, rows, keys);
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t t = block.begin + i;
      const RowRange seen = at.seen(t, keys);
      T* p_row = p + i * keys.count;
      T* ds_row = ds + i * keys.count;
      clear_hidden(p_row, keys, seen);
      clear_hidden(ds_row, keys, seen);
      p_row += seen.first - keys.first;
      ds_row += seen.first - keys.first;
      const int64_t farthest = at.farthest(seen.count);
      T* position_row = s_position + i * block.positions.count;
      T* by_position = position_row + farthest - block.positions.first;
      if (at.positions > 0) add_positions_row(p_row, by_position, seen.count, at.positions);
      if (at.dropout > 0) {
        dropout_mask_row(drop, at.mask_element(item, t) + seen.first, seen.count, at.dropout, at.key);
        multiply_row(ds_row, drop, seen.count);
      }
      softmax_backward_row(p_row, ds_row, seen.count, scale, x.lse[item * at.queries + t], delta[i]);
      if (at.dropout > 0) multiply_row(p_row, drop, seen.count);
      if (at.positions == 0) continue;
      clear_hidden(position_row, block.positions, {farthest, at.positions - farthest});
      sum_by_position_row(by_position, ds_row, seen.count, at.positions);
    }
    products.keys.matmul_nn(out, keys.first > block.keys.first, ds, slot, rows, keys, memory);
    products.keys.matmul_tn(sums.keys, !first, ds, q, rows, keys, memory);
    products.values.matmul_tn(sums.values, !first, p, dy, rows, keys, memory);
  }
  const auto write = [&](T* dq) {
    for (int64_t i = 0; i < rows; ++i) std::copy_n(out + i * at.head, at.head, dq + offset + i * ld);
  };
  write(x.dq);
  if (at.positions == 0) return;
  products.positions.matmul_nn(out, false, s_position, item % at.heads, rows, block.positions, memory);
  write(x.dposition_q);
  products.positions.matmul_tn(sums.positions, !first, s_position, position_q, rows, block.positions, memory);
}

template <class Operand, class T>
void forward(const AttentionLayout& at, AttentionProducts<Operand>& products, const ForwardArguments<T>& x) {
  const int64_t floats =
      at.block * (products.keys.padded_rows() + products.positions.padded_rows() + at.head + 1) + at.keys;
  const ThreadScratch scratch(floats * sizeof(T) + products.scratch_bytes(at) + 4096);
  const bool parallel = at.worth_threads();
  if (at.positions > 0)
    parallel_for(at.heads, parallel, [&](int64_t head) { products.positions.prepare(head, head); });
  parallel_for(at.items(), parallel, [&](int64_t item) { products.prepare(item, item); });
  // Blocks go item by item, while the keys of the item are in cache. The last blocks see the most keys, so they come
  // first.
  parallel_for(at.items() * at.blocks(), parallel, [&](int64_t task) {
    const SingleThreaded single;
    forward_block(at, products, scratch.own(), x, task / at.blocks(),
                  at.block_at(at.blocks() - 1 - task % at.blocks()));
  });
}

// Clears the sums outside of `seen`, the rows that the first block of a task sees; that block overwrites
// those.
template <class T>
void clear_outside(T* sums, RowRange seen, int64_t rows, int64_t head) {
  std::fill(sums, sums + seen.first * head, T(0));
  std::fill(sums + seen.end() * head, sums + rows * head, T(0));
}

// y = x
void put_row(bf16* y, const float* x, int64_t n) {
  round_to_bf16(y, x, n);
}
template <class T>
void put_row(T* y, const T* x, int64_t n) {
  std::copy_n(x, n, y);
}

// Returns the number of groups into which the blocks of an item are cut. A group is one task.
int64_t backward_groups(const AttentionLayout& at) {
  return std::clamp((kBackwardTasks + at.items() - 1) / at.items(), int64_t{1}, at.blocks());
}

// Returns the number of items whose packed keys and values, and sums, are held at once. An item that is one
// task needs them only while it runs: with fewer threads than items each thread has one slot, which stays in
// its cache.
int64_t backward_slots(const AttentionLayout& at) {
  return backward_groups(at) > 1 ? at.items() : std::min<int64_t>(at.items(), max_threads());
}

template <class Operand, class T>
void backward(const AttentionLayout& at, AttentionProducts<Operand>& products,
              const BackwardArguments<T, typename Operand::Stored>& x) {
  const int64_t groups = backward_groups(at), slots = backward_slots(at), tasks = at.items() * groups;
  const int64_t head = at.head, keys = products.keys.padded_rows(),
                positions = products.positions.padded_rows();
  const Storage key_storage(slots * groups * 2 * keys * head * sizeof(T), Device::cpu()),
      position_storage(tasks * positions * head * sizeof(T), Device::cpu());
  T* const key_sums = static_cast<T*>(key_storage.data());
  T* const position_sums = static_cast<T*>(position_storage.data());
  const int64_t floats = at.block * (2 * std::min(at.chunk, keys) + positions + head + 1) + at.keys;
  const ThreadScratch scratch(floats * sizeof(T) + products.scratch_bytes(at) + 4096);
  const auto add_sum = [&at](T* target, const T* sum) {
    for (int64_t j = 0; j < at.head; ++j) target[j] += sum[j];
  };
  const auto put_key = [&](int64_t slot, int64_t item, int64_t key) {
    for (int64_t part = 0; part < 2; ++part) {  // 0: the key, 1: the value
      T* sum = key_sums + ((slot * groups * 2 + part) * keys + key) * head;
      for (int64_t group = 1; group < groups; ++group) add_sum(sum, sum + group * 2 * keys * head);
      put_row(x.dkv + at.kv_offset(item, key) + part * at.width, sum, at.head);
    }
  };
  const auto run_task = [&](int64_t task) {
    const SingleThreaded single;
    const int64_t item = task / groups, group = task % groups,
                  slot = slots < at.items() ? thread_index() : item;
    if (groups == 1) products.prepare(slot, item);
    T* own = key_sums + (slot * groups + group) * 2 * keys * head;
    const Sums<T> sums{own, own + keys * head, position_sums + task * positions * head};
    const int64_t last = at.blocks() - 1 - group;
    const QueryBlock longest = at.block_at(last);
    clear_outside(sums.keys, longest.keys, keys, head);
    clear_outside(sums.values, longest.keys, keys, head);
    clear_outside(sums.positions, longest.positions, positions, head);
    for (int64_t index = last; index >= 0; index -= groups)
      backward_block(at, products, scratch.own(), sums, index == last, x, slot, item, at.block_at(index));
    for (int64_t key = 0; groups == 1 && key < at.keys; ++key) put_key(slot, item, key);
  };
  // The batch items share the positions: their sums are added, and stored nearest first.
  const auto sum_positions = [&](int64_t row) {
    const int64_t h = row % at.heads, position = row / at.heads;
    T* target = x.dr + (at.positions - 1 - position) * at.width + h * at.head;
    std::fill_n(target, at.head, T(0));
    for (int64_t task = 0; task < at.batch * groups; ++task) {
      const int64_t item = task / groups * at.heads + h;
      add_sum(target, position_sums + ((item * groups + task % groups) * positions + position) * head);
    }
  };
  const bool parallel = at.worth_threads();
  if (at.positions > 0)
    parallel_for(at.heads, parallel, [&](int64_t h) { products.positions.prepare(h, h); });
  if (groups > 1) parallel_for(at.items(), parallel, [&](int64_t item) { products.prepare(item, item); });
  parallel_for(tasks, parallel, run_task);
  if (groups > 1)
    parallel_for(at.items() * at.keys, parallel,
                 [&](int64_t row) { put_key(row / at.keys, row / at.keys, row % at.keys); });
  parallel_for(at.positions * at.heads, parallel, sum_positions);
}

template <class Operand>
void forward(const Tensor& y, const Tensor& lse, const Tensor& q, const Tensor& kv, const PositionTerm& term,
             const AttentionKernel& kernel) {
  using T = typename Operand::Element;
  const AttentionLayout layout(q, kv, term, kernel.options, Operand::kAlignment, kForward);
  AttentionProducts<Operand> products(layout, kv, term, false, layout.items());
  forward(layout, products,
          ForwardArguments<T>{y.data<T>(), lse.data<T>(), q.data<T>(), data_or_null<T>(term.q)});
}

// Returns the sizes of the blocks of backward. With positions the keys of a row are taken at once, since many
// may share a position. With few items blocks stay small, so that there are enough tasks for all threads.
template <class Operand>
BlockSizes backward_sizes(const Tensor& q, const PositionTerm& term, const AttentionOptions& options) {
  BlockSizes sizes = Operand::kBackward;
  if (term.any()) return kForward;
  if (q.size(1) * options.heads * q.size(0) < kBackwardTasks * sizes.rows) sizes.rows = kForward.rows;
  return sizes;
}

template <class Operand>
void backward(const Tensor& dq, const Tensor& dkv, const PositionTerm& dterm, const Tensor& dy,
              const Tensor& q, const Tensor& kv, const PositionTerm& term, const Tensor& y, const Tensor& lse,
              const AttentionKernel& kernel) {
  using T = typename Operand::Element;
  const AttentionLayout layout(q, kv, term, kernel.options, Operand::kAlignment,
                               backward_sizes<Operand>(q, term, kernel.options));
  AttentionProducts<Operand> products(layout, kv, term, true, backward_slots(layout));
  backward(layout, products,
           BackwardArguments<T, typename Operand::Stored>{dq.data<T>(), dkv.data<typename Operand::Stored>(),
                                                          data_or_null<T>(dterm.q), data_or_null<T>(dterm.r),
                                                          dy.data<T>(), q.data<T>(), data_or_null<T>(term.q),
                                                          y.data<T>(), lse.data<T>()});
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
  dispatch_float(q.dtype(), "attention",
                 [&]<class T>() { forward<PlainOperand<T>>(y, lse, q, kv, term, kernel); });
}

// With A = P V, P = softmax(S), S = (Q K^T + shifted(Qp R^T)) / sqrt(d), and P * mask in place of P if there
// is dropout:
//
//   dV = P^T dA    dP = dA V^T    dS = P (dP - delta) / sqrt(d)    dQ = dS K    dK = dS^T Q
//   dQp = E R      dR = E^T Qp
//
// where delta = sum_j P dP = dA . A for each query (Dao et al., "FlashAttention", 2022, appendix B.2), and E
// is dS with the keys of each query summed by position.
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
  dispatch_float(q.dtype(), "attention", [&]<class T>() {
    backward<PlainOperand<T>>(dq, dkv, dterm, dy, q, kv, term, y, lse, kernel);
  });
}

}  // namespace tandem::cpu
