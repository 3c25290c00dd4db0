// The fused kernels between the products of attention: mask, softmax and dropout of a block of scores, and
// their gradient.
#pragma once
#include "tandem/core/macros.h"
#include "tandem/cuda/device/dropout.cuh"
#include "tandem/cuda/device/softmax.cuh"
#include "tandem/ops/softmax.h"

namespace tandem::cuda {

struct Range {
  int64_t begin, end;
  TANDEM_HD int64_t size() const { return end - begin; }
};

// A block of queries. Its rows are numbered (item, query), row-major, where an item is a head of a batch
// item; s holds the scores of the rows against the keys first .. end - 1, with `ld` elements from row to row.
template <class C>
struct AttentionRows {
  int64_t count;
  int rows;       // queries of the block
  int64_t begin;  // the first of them
  int64_t first, end, ld;
  int64_t item;  // the first item of the chunk of batch items that is computed at once
  int64_t queries, keys;
  CausalMask mask;
  DeviceDropout dropout;
  C scale;

  struct Place {
    unsigned item;  // counted within the chunk
    int64_t query;  // counted within the sequence
  };
  __device__ Place place(int64_t row) const {
    const unsigned at = static_cast<unsigned>(row), n = static_cast<unsigned>(rows);
    return {at / n, begin + at % n};
  }
  // Returns the index of the row's first weight among all weights, which numbers the dropout mask.
  __device__ int64_t element(Place at) const { return ((item + at.item) * queries + at.query) * keys; }
};

// Attention without positions: the scores are those of the contents alone.
struct NoPositions {
  static constexpr bool kAny = false;
};

// The terms that relative positions add to the scores of a block's rows: for each row one term for each
// distance 0 .. last; keys that are farther away share the last one. Score is the type of the terms in memory.
template <class Score>
struct RelativePositions {
  static constexpr bool kAny = true;
  const Score* scores;
  int64_t ld, last;

  // Adds the terms to a chunk whose first key is `distance` away from the row's query; negative distances are
  // the future, which is masked.
  template <class Index, class C, int N>
  __device__ __forceinline__ void add(Vec<C, N>& chunk, int64_t row, Index distance) const {
    const Score* own = scores + row * ld;
    const Index farthest = static_cast<Index>(last);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const Index back = distance - k;
      chunk.v[k] += static_cast<C>(own[back > farthest ? farthest : back < 0 ? 0 : back]);
    }
  }
};

// The same terms, and their gradient: dS of each row by distance, 0 .. columns - 1, with zeros where there is
// no key.
template <class T, class Score>
struct RelativePositionsBackward : RelativePositions<Score> {
  T* sums;  // (items, all queries, sums_ld)
  int64_t sums_ld, columns;
};

// The dropout factors of one row's keys, whose mask begins at `first_element`; all are 1 where there is no
// dropout.
struct RowFactors {
  const DeviceDropout& dropout;
  int64_t first_element;
  DropoutKey key;

  __device__ RowFactors(const DeviceDropout& of, int64_t first)
      : dropout(of), first_element(first), key(of.on() ? current_key(of) : DropoutKey{}) {}
  template <class Index, class C, int N>
  __device__ void operator()(Index column, C (&f)[N]) const {
    static_assert(N <= 4);
#pragma unroll
    for (int k = 0; k < N; ++k) f[k] = 1;
    if (!dropout.on()) return;
    const int64_t element = first_element + column;
    FourFactors<C> four = four_factors<C>(dropout, key, element / 4);
    if (element % 4 != 0) {  // the elements come from two blocks of the mask
      const FourFactors<C> next = four_factors<C>(dropout, key, element / 4 + 1);
      const bool odd = element % 2 != 0;
      if (odd) four = {{four.v[1], four.v[2], four.v[3], next.v[0]}};
      if (element % 4 >= 2)
        four = {{four.v[2], four.v[3], odd ? next.v[1] : next.v[0], odd ? next.v[2] : next.v[1]}};
    }
#pragma unroll
    for (int k = 0; k < N; ++k) f[k] = four.v[k];
  }
};

// Computes P = dropout(softmax(scale S)) and the logarithm of the sum of the exponentials. S is of type Score in
// memory, Compute<T> or T. Memory traffic at least: reads S once, 4 bytes an element or 2 in bf16, and writes P,
// 2 bytes in bf16; positions add as much as S.
template <class T, class Positions, class Score>
struct AttentionForward : AttentionRows<Compute<T>> {
  using C = Compute<T>;
  Positions positions;
  T* p;
  const Score* s;
  C* lse;

  template <class Shape>
  __device__ void run(int64_t row) const {
    const auto at = this->place(row);
    const int64_t first = this->first, columns = this->end - first;
    const VisibleColumns<int64_t> visible(this->mask.begin(at.query) - first,
                                          this->mask.end(at.query) - first);
    const RowFactors factors(this->dropout, this->element(at) + first);
    const int64_t offset = row * this->ld;
    const auto load = [&](auto column) {
      Vec<C, Shape::kWidth> chunk = converted<C>(load_vector<Score, Shape::kWidth>(s + offset + column));
      if constexpr (Positions::kAny)
        positions.add(chunk, row, static_cast<decltype(column)>(visible.end - 1) - column);
      return chunk;
    };
    const C log_sum = softmax_row<Shape, C>(p + offset, load, visible, columns, this->scale, factors);
    if (threadIdx.x == 0) lse[(this->item + at.item) * this->queries + at.query] = log_sum;
  }
};

// Returns this thread's part of the dot product a . b.
template <int kThreads, int N, class T>
__device__ __forceinline__ Compute<T> partial_dot(const T* a, const T* b, int64_t n) {
  Compute<T> dot = 0;
#pragma unroll 1
  for (int64_t i = int64_t{threadIdx.x} * N; i < n; i += kThreads * N) {
    const Vec<T, N> x = load_vector<T, N>(a + i), y = load_vector<T, N>(b + i);
#pragma unroll
    for (int k = 0; k < N; ++k) dot += static_cast<Compute<T>>(x.v[k]) * static_cast<Compute<T>>(y.v[k]);
  }
  return dot;
}

// Computes from S and dP:  P = dropout(exp(scale S - lse)),  dS = P (dropout(dP) - delta) scale,  delta = dY
// . Y. Memory traffic at least: reads S and dP once, 8 bytes an element or 4 in bf16, and writes P and dS,
// 4 bytes in bf16; positions add reads of as much as S and writes of 2.
template <class T, class Positions, class Score>
struct AttentionBackward : AttentionRows<Compute<T>> {
  using C = Compute<T>;
  Positions positions;
  T *p, *ds;  // (items, all queries, kept_ld), whose columns begin with the key `origin`
  int64_t origin, kept_ld;
  Range kept;  // the keys whose columns are written, at least first .. end; masked ones get 0
  const Score *s, *dp;
  const C* lse;
  const T *dy, *y;
  int64_t row_stride, batch_stride, head;  // strides of dy and y, and the width of a head
  unsigned heads;
  bool vectors;  // whether dy and y may be read in vectors

  template <class Shape>
  __device__ void run(int64_t row) const {
    using Index = typename Shape::Index;
    constexpr int N = Shape::kWidth;
    const auto at = this->place(row);
    const Index before = static_cast<Index>(this->first - kept.begin);  // columns count from kept.begin
    const VisibleColumns<Index> visible(VisibleColumns<int64_t>(this->mask.begin(at.query) - kept.begin,
                                                                this->mask.end(at.query) - kept.begin));
    const int64_t columns = kept.size();
    const int64_t offset = row * this->ld - before;
    // Loaded values keep their type until they are used: a conversion would wait for the load.
    Vec<std::conditional_t<Positions::kAny, C, Score>, N> score[Shape::kStored];
    Vec<Score, N> slope[Shape::kStored];
    const auto load = [&](int i, Index column) {
      score[i] = {};
      slope[i] = {};
      if (!visible.has_some(column, N)) return;
      const Vec<Score, N> loaded = load_vector<Score, N>(s + offset + column);
      if constexpr (Positions::kAny)
        score[i] = converted<C>(loaded);
      else
        score[i] = loaded;
      slope[i] = load_vector<Score, N>(dp + offset + column);
      if constexpr (Positions::kAny) positions.add(score[i], row, visible.end - 1 - column);
    };
    if constexpr (Shape::kHeld)
      for_chunks<Shape>(columns, load);  // the loads are in flight during what follows

    const int64_t place = at.query * row_stride + at.item / heads * batch_stride + at.item % heads * head;
    constexpr int kThreads = Shape::kThreads;
    const C delta =
        block_sum<kThreads>(vectors ? partial_dot<kThreads, kVector<T>>(dy + place, y + place, head)
                                    : partial_dot<kThreads, 1>(dy + place, y + place, head));
    const C log_sum = lse[(this->item + at.item) * this->queries + at.query];
    const RowFactors factors(this->dropout, this->element(at) + kept.begin);
    const int64_t out_row = at.item * this->queries + at.query;
    const int64_t out = out_row * kept_ld + (kept.begin - origin);
    C farthest = 0;  // sum of dS over the keys of the last position
    for_chunks<Shape>(columns, [&](int i, Index column) {
      if (column >= columns) return;
      if constexpr (!Shape::kHeld) load(i, column);
      C f[N];
      factors(column, f);
      Vec<T, N> p_out, ds_out;
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const bool seen = visible.has(column + k);
        const C weight = fast_exp(static_cast<C>(score[i].v[k]) * this->scale - log_sum);
        const C ds_value =
            seen ? weight * (static_cast<C>(slope[i].v[k]) * f[k] - delta) * this->scale : C(0);
        p_out.v[k] = static_cast<T>(seen ? weight * f[k] : C(0));
        ds_out.v[k] = static_cast<T>(ds_value);
        if constexpr (Positions::kAny) {
          const Index distance = visible.end - 1 - (column + k);
          if (distance >= positions.last)
            farthest += ds_value;
          else if (seen)
            positions.sums[out_row * positions.sums_ld + distance] = ds_out.v[k];
        }
      }
      store_vector(p + out + column, p_out);
      store_vector(ds + out + column, ds_out);
    });
    if constexpr (Positions::kAny) {
      T* sums = positions.sums + out_row * positions.sums_ld;
      const int64_t last = positions.last, seen = visible.end - visible.begin;
      farthest = block_sum<kThreads>(farthest);
      if (threadIdx.x == 0) sums[last] = static_cast<T>(farthest);
      for (int64_t d = seen + threadIdx.x; d < positions.columns; d += kThreads)
        if (d != last) sums[d] = T{};
    }
  }
};

}  // namespace tandem::cuda
