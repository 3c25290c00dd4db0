// How a call of attention is cut into blocks, and the operands that the blocks multiply with. Internal to
// ops/attention_cpu/blocks.cpp.
#pragma once
#include <algorithm>

#include "tandem/core/parallel.h"
#include "tandem/core/storage.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/attention_cpu/operands.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/softmax.h"

namespace tandem::cpu {

// Query rows begin .. end - 1, and the keys and positions that at least one of them sees.
struct QueryBlock {
  int64_t begin, end;
  RowRange keys, positions;
  int64_t rows() const { return end - begin; }
};

// The sizes and the mask of one call, and its cut into blocks. Positions are stored farthest first, like
// keys. A query that sees n keys uses the last min(n, P) positions; all farther keys share position 0.
struct AttentionLayout {
  int64_t queries, batch, width, keys, positions, heads, head;
  CausalMask mask;
  double dropout;
  DropoutKey key;
  int64_t alignment;  // ranges begin and end at multiples of it; the last one may end in padding
  int64_t block;      // query rows of a block
  int64_t chunk;      // keys that backward takes at a time

  AttentionLayout(const Tensor& q, const Tensor& kv, const PositionTerm& term,
                  const AttentionOptions& options, int64_t align, const BlockSizes& sizes)
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
        alignment(align),
        block(std::min(sizes.rows, queries)),
        chunk(sizes.chunk) {}

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
  // The part of `of`, a range of keys, that a query sees.
  RowRange seen(int64_t query, RowRange of) const {
    const int64_t begin = std::clamp(mask.begin(query), of.first, of.end());
    return {begin, std::clamp(mask.end(query), begin, of.end()) - begin};
  }
  // The keys of a block from `first` on, up to the end of the chunk that `first` is in.
  RowRange chunk_at(const QueryBlock& of, int64_t first) const {
    return {first, std::min(of.keys.end(), first / chunk * chunk + chunk) - first};
  }
  QueryBlock block_at(int64_t index) const {
    const int64_t begin = index * block, end = std::min(queries, begin + block);
    return {begin, end, aligned(mask.begin(begin), mask.end(end - 1)),
            aligned(farthest(visible(end - 1)), positions)};
  }
};

// The operands of all blocks.
template <class Operand>
struct AttentionProducts {
  using S = typename Operand::Stored;
  Operand keys, values, positions;

  // Keys and values hold `slots` items at a time. Positions, which the batch items share, hold all heads.
  AttentionProducts(const AttentionLayout& at, const Tensor& kv, const PositionTerm& term, bool backward,
                    int64_t slots)
      : keys(view_of(at, kv, 0), backward ? OperandUse::both : OperandUse::nt, at.chunk, slots),
        values(view_of(at, kv, at.width), backward ? OperandUse::nt : OperandUse::nn, at.chunk, slots),
        positions(view_of(at, term), backward ? OperandUse::both : OperandUse::nt, kAllKeys, at.heads) {}

  // Bytes of scratch for a block, including the loaded rows of q, dy and the position queries.
  int64_t scratch_bytes(const AttentionLayout& at) const {
    return 3 * keys.rows_bytes(at.block) +
           keys.scratch_bytes(at.block,
                              std::min(at.chunk, std::max(keys.padded_rows(), positions.padded_rows())));
  }
  void prepare(int64_t slot, int64_t item) {
    keys.prepare(slot, item);
    values.prepare(slot, item);
  }

 private:
  static OperandView<S> view_of(const AttentionLayout& at, const Tensor& kv, int64_t column) {
    const int64_t row = 2 * at.width;
    return {kv.data<S>() + column, at.keys, at.batch * row, row, at.heads, at.head};
  }
  static OperandView<S> view_of(const AttentionLayout& at, const PositionTerm& term) {
    const S* farthest = term.any() ? term.r.data<S>() + (at.positions - 1) * at.width : nullptr;
    return {farthest, at.positions, -at.width, 0, at.heads, at.head};
  }
};

// Sets a row to zero outside of the keys that it sees, so that products can run over the whole range.
template <class T>
void clear_hidden(T* row, RowRange range, RowRange seen) {
  std::fill(row, row + (seen.first - range.first), T(0));
  std::fill(row + (seen.end() - range.first), row + range.count, T(0));
}

}  // namespace tandem::cpu
