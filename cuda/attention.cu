// Causal attention on the GPU, with or without relative positions: products by cuBLASLt around one kernel
// that does mask, softmax and dropout.
//
// The queries are cut into blocks, and each block is multiplied with the keys that some query of it sees. A
// block has as many scores as fill the multiprocessors once with tiles of 128 x 256 (or a multiple, if
// AttentionScope says so); so few stay in the L2 cache between the product that writes them, in f32 or, on
// request, in bf16, and the kernel that reads them. Backward keeps P and dS, in the dtype of the data, until
// one product each forms the gradients of the keys and values, so that no partial results are left to add.
// The scores by position are products too, (queries, distances), which the kernel reads by distance; in
// backward it sums dS by distance in the same layout.
#include "tandem/ops/attention.h"

#include "tandem/core/array.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/math.h"
#include "tandem/cuda/device/attention_rows.cuh"
#include "tandem/cuda/runtime/gemm.h"
#include "tandem/ops/reduce.h"

namespace tandem::cuda {
namespace {

constexpr int64_t kTileRows = 128, kTileColumns = 256;
constexpr int64_t kAlignment = 8;  // the first key of a block is a multiple of it: 16 bytes in bf16

// The sizes and the mask of one call, and how it is cut into blocks.
struct Layout {
  int64_t queries, batch, width, keys, positions, heads, head;
  CausalMask mask;
  MatmulPrecision precision;
  int64_t chunk;     // batch items at a time
  int64_t rows;      // queries of a block
  int64_t key_rows;  // keys of a block in the products that make their gradients
  int64_t origin;    // the first key that any query sees, rounded down

  Layout(const Tensor& q, const Tensor& kv, const PositionTerm& term, const AttentionKernel& kernel)
      : queries(q.size(0)),
        batch(q.size(1)),
        width(q.size(2)),
        keys(kv.size(0)),
        positions(term.any() ? term.r.size(0) : 0),
        heads(kernel.options.heads),
        head(width / heads),
        mask{keys - queries, kernel.options.window},
        precision(kernel.precision) {
    const double once = static_cast<double>(context().multiprocessors) * kTileRows * kTileColumns;
    const auto wave = static_cast<int64_t>(std::max(1.0, kernel.tuning.waves * once));
    chunk = std::clamp(wave / scores_of(heads, std::min(queries, kTileRows)), int64_t{1}, batch);
    chunk = even_part(batch, chunk, 1);
    rows = kTileRows;
    while (rows < queries && scores_of(chunk * heads, rows + kTileRows) <= wave) rows += kTileRows;
    rows = even_part(queries, rows, kTileRows);
    key_rows = round_up((wave + chunk * width - 1) / (chunk * width), kTileRows);
    origin = mask.begin(0) / kAlignment * kAlignment;
  }

  // Returns the largest number of scores of `items` items in a block of `block` queries.
  int64_t scores_of(int64_t items, int64_t block) const {
    return items * block * (mask.window == 0 ? keys : std::min(keys, mask.window + block));
  }
  // Returns the size of equal parts of `total`, as many as parts of size `part` would be, rounded up to a
  // `multiple`.
  static int64_t even_part(int64_t total, int64_t part, int64_t multiple) {
    const int64_t parts = (total + part - 1) / part;
    return round_up((total + parts - 1) / parts, multiple);
  }

  Range queries_of(int64_t begin) const { return {begin, std::min(queries, begin + rows)}; }
  // Returns the keys that some of these queries see, widened to whole vectors.
  Range keys_of(Range block) const {
    return {mask.begin(block.begin) / kAlignment * kAlignment,
            std::min(keys, round_up(mask.end(block.end - 1), kAlignment))};
  }
  // Returns the number of distances, from 0 on, between the queries of the block and the keys that they see.
  int64_t distances_of(Range block) const {
    return std::min(positions, mask.end(block.end - 1) - mask.begin(block.end - 1));
  }
  // Returns the queries that see some of these keys.
  Range queries_seeing(Range block) const {
    return {std::max(int64_t{0}, block.begin - mask.memory),
            mask.window == 0 ? queries : std::min(queries, block.end - mask.memory + mask.window - 1)};
  }
  // Returns the range widened to whole blocks of key_rows, which are counted from the origin.
  Range whole_key_blocks(Range range) const {
    return {origin + (range.begin - origin) / key_rows * key_rows,
            std::min(keys, origin + round_up(range.end - origin, key_rows))};
  }
};

// A matrix for each batch item and head; `data` is the first element of the one of item 0 and head 0.
struct Matrix {
  void* data;
  DType dtype;
  int64_t ld, per_batch, per_head;
  bool transposed = false;

  Matrix moved(int64_t elements) const {
    Matrix other = *this;
    other.data = static_cast<char*>(data) + elements * static_cast<int64_t>(size_of(dtype));
    return other;
  }
  Matrix at(int64_t row, int64_t column = 0) const { return moved(row * ld + column); }
  Matrix t() const {
    Matrix other = *this;
    other.transposed = !transposed;
    return other;
  }
};

// Computes C = A B for every batch item and head of a chunk. A strided batch can run over one of the two
// only, and runs over the larger one.
struct Products {
  int64_t batch, heads;
  MatmulPrecision precision;

  void operator()(const Matrix& c, const Matrix& a, const Matrix& b, int64_t m, int64_t n, int64_t k) const {
    const bool over_batch = batch >= heads;
    const auto inner = [over_batch](const Matrix& x) { return over_batch ? x.per_batch : x.per_head; };
    const auto outer = [over_batch](const Matrix& x) { return over_batch ? x.per_head : x.per_batch; };
    Gemm product{.m = m, .n = n, .k = k, .transpose_a = a.transposed, .transpose_b = b.transposed};
    product.lda = a.ld;
    product.ldb = b.ld;
    product.ldc = c.ld;
    product.batch = over_batch ? batch : heads;
    product.stride_a = inner(a);
    product.stride_b = inner(b);
    product.stride_c = inner(c);
    product.precision = precision;
    for (int64_t i = 0; i < (over_batch ? heads : batch); ++i)
      gemm(c.moved(i * outer(c)).data, a.moved(i * outer(a)).data, b.moved(i * outer(b)).data, product,
           {c.dtype, a.dtype, b.dtype});
  }
};

// The matrices of q (T, B, D), or of a tensor of its shape, from batch item b on; those of the keys or values
// in kv.
Matrix rows_of(const Tensor& q, int64_t b, int64_t heads) {
  const int64_t width = q.size(2);
  return Matrix{q.raw(), q.dtype(), q.size(1) * width, width, width / heads}.moved(b * width);
}
Matrix side_of(const Tensor& kv, int64_t b, int64_t heads, bool values) {
  const int64_t width = kv.size(2) / 2;
  const Matrix both{kv.raw(), kv.dtype(), kv.size(1) * 2 * width, 2 * width, width / heads};
  return both.moved(b * 2 * width + (values ? width : 0));
}
// The matrices of r (P, D), the same for all batch items.
Matrix positions_of(const Tensor& r, int64_t heads) {
  return {r.raw(), r.dtype(), r.size(1), 0, r.size(1) / heads};
}
// The matrices in `memory` (items, rows, ld).
Matrix scores_in(const Tensor& memory, int64_t rows, int64_t ld, int64_t heads) {
  return {memory.raw(), memory.dtype(), ld, heads * rows * ld, rows * ld};
}

template <class T>
AttentionRows<Compute<T>> block_rows(const Layout& at, const AttentionKernel& kernel, int64_t items,
                                     int64_t first_item, Range block, Range seen, int64_t ld) {
  using C = Compute<T>;
  return {items * block.size(),
          static_cast<int>(block.size()),
          block.begin,
          seen.begin,
          seen.end,
          ld,
          first_item,
          at.queries,
          at.keys,
          at.mask,
          DeviceDropout::with(kernel.options.dropout, kernel.options.key),
          C(1) / std::sqrt(static_cast<C>(at.head))};
}

// Returns the scores of the queries of a block against the positions: (items, queries, distances), padded.
Tensor scores_by_distance(const Layout& at, const Products& multiply, const PositionTerm& term, int64_t b,
                          Range block, DType dtype) {
  const int64_t distances = at.distances_of(block), ld = round_up(distances, kAlignment);
  const Tensor scores({multiply.batch * at.heads, block.size(), ld}, dtype, term.q.device());
  multiply(scores_in(scores, block.size(), ld, at.heads), rows_of(term.q, b, at.heads).at(block.begin),
           positions_of(term.r, at.heads).t(), block.size(), distances, at.head);
  return scores;
}

// Score is the type of the scores in memory.
template <class T, bool kRelative, class Score>
void forward(const Tensor& y, const Tensor& lse, const Tensor& q, const Tensor& kv, const PositionTerm& term,
             const AttentionKernel& kernel) {
  using C = Compute<T>;
  using Positions = std::conditional_t<kRelative, RelativePositions<Score>, NoPositions>;
  const Layout at(q, kv, term, kernel);
  for (int64_t b = 0; b < at.batch; b += at.chunk) {
    const Products multiply{std::min(at.chunk, at.batch - b), at.heads, at.precision};
    const int64_t items = multiply.batch * at.heads;
    const Matrix qs = rows_of(q, b, at.heads), ys = rows_of(y, b, at.heads);
    const Matrix keys = side_of(kv, b, at.heads, false), values = side_of(kv, b, at.heads, true);
    for (int64_t t = 0; t < at.queries; t += at.rows) {
      const Range block = at.queries_of(t), seen = at.keys_of(block);
      const int64_t ld = round_up(seen.size(), kAlignment);
      const Tensor scores({items, block.size(), ld}, dtype_of<Score>(), q.device());
      const Tensor weights(scores.shape(), q.dtype(), q.device());
      const Matrix s = scores_in(scores, block.size(), ld, at.heads);
      const Matrix p = scores_in(weights, block.size(), ld, at.heads);
      multiply(s, qs.at(t), keys.at(seen.begin).t(), block.size(), seen.size(), at.head);
      Tensor by_distance;
      Positions positions;
      if constexpr (kRelative) {
        by_distance = scores_by_distance(at, multiply, term, b, block, dtype_of<Score>());
        positions = {by_distance.data<Score>(), by_distance.size(2), at.distances_of(block) - 1};
      }
      launch_rows<kVector<C>>(
          AttentionForward<T, Positions, Score>{
              block_rows<T>(at, kernel, items, b * at.heads, block, seen, ld), positions, weights.data<T>(),
              scores.data<Score>(), lse.data<C>()},
          seen.size());
      multiply(ys.at(t), p, values.at(seen.begin), block.size(), at.head, seen.size());
    }
  }
}

template <class T, bool kRelative, class Score>
void backward(const Tensor& dq, const Tensor& dkv, const PositionTerm& dterm, const Tensor& dy,
              const Tensor& q, const Tensor& kv, const PositionTerm& term, const Tensor& y, const Tensor& lse,
              const AttentionKernel& kernel) {
  using C = Compute<T>;
  using Positions = std::conditional_t<kRelative, RelativePositionsBackward<T, Score>, NoPositions>;
  const Layout at(q, kv, term, kernel);
  cuda::fill(dkv.view_rows(0, at.origin), 0);  // keys that no query sees
  const int64_t kept_ld = round_up(at.keys - at.origin, kAlignment);
  const int64_t distances = at.distances_of({0, at.queries}), distances_ld = round_up(distances, kAlignment);
  const bool vectors = at.head % kVector<T> == 0 && is_aligned(y.raw()) && is_aligned(dy.raw());
  Tensor dr_parts;  // of each batch item; added up in the end
  if constexpr (kRelative) dr_parts = Tensor({at.batch, distances, at.width}, dtype_of<C>(), q.device());
  for (int64_t b = 0; b < at.batch; b += at.chunk) {
    const Products multiply{std::min(at.chunk, at.batch - b), at.heads, at.precision};
    const int64_t items = multiply.batch * at.heads;
    const Matrix qs = rows_of(q, b, at.heads), dqs = rows_of(dq, b, at.heads), dys = rows_of(dy, b, at.heads),
                 ys = rows_of(y, b, at.heads);
    const Matrix keys = side_of(kv, b, at.heads, false), values = side_of(kv, b, at.heads, true),
                 dkeys = side_of(dkv, b, at.heads, false), dvalues = side_of(dkv, b, at.heads, true);
    const Tensor weights({items, at.queries, kept_ld}, q.dtype(), q.device()), slopes = empty_like(weights);
    const Matrix p = scores_in(weights, at.queries, kept_ld, at.heads),
                 ds = scores_in(slopes, at.queries, kept_ld, at.heads);
    Tensor slopes_by_distance;
    Matrix ds_position{}, rs{}, dposition_qs{};
    if constexpr (kRelative) {
      slopes_by_distance = Tensor({items, at.queries, distances_ld}, q.dtype(), q.device());
      ds_position = scores_in(slopes_by_distance, at.queries, distances_ld, at.heads);
      rs = positions_of(term.r, at.heads);
      dposition_qs = rows_of(dterm.q, b, at.heads);
    }
    for (int64_t t = 0; t < at.queries; t += at.rows) {
      const Range block = at.queries_of(t), seen = at.keys_of(block), kept = at.whole_key_blocks(seen);
      const int64_t ld = round_up(seen.size(), kAlignment);
      const Tensor scores({items, block.size(), ld}, dtype_of<Score>(), q.device()),
          dweights = empty_like(scores);
      const Matrix s = scores_in(scores, block.size(), ld, at.heads),
                   dp = scores_in(dweights, block.size(), ld, at.heads);
      multiply(s, qs.at(t), keys.at(seen.begin).t(), block.size(), seen.size(), at.head);
      multiply(dp, dys.at(t), values.at(seen.begin).t(), block.size(), seen.size(), at.head);
      Tensor by_distance;
      Positions positions;
      if constexpr (kRelative) {
        by_distance = scores_by_distance(at, multiply, term, b, block, dtype_of<Score>());
        positions = {{by_distance.data<Score>(), by_distance.size(2), at.distances_of(block) - 1},
                     slopes_by_distance.data<T>(),
                     distances_ld,
                     distances};
      }
      launch_rows<kVector<C>, 4>(
          AttentionBackward<T, Positions, Score>{
              block_rows<T>(at, kernel, items, b * at.heads, block, seen, ld), positions, weights.data<T>(),
              slopes.data<T>(), at.origin, kept_ld, kept, scores.data<Score>(), dweights.data<Score>(),
              lse.data<C>(), static_cast<const T*>(dys.data), static_cast<const T*>(ys.data),
              at.batch * at.width, at.width, at.head, static_cast<unsigned>(at.heads), vectors},
          kept.size());
      multiply(dqs.at(t), ds.at(t, seen.begin - at.origin), keys.at(seen.begin), block.size(), at.head,
               seen.size());
      if constexpr (kRelative)
        multiply(dposition_qs.at(t), ds_position.at(t), rs, block.size(), at.head, at.distances_of(block));
    }
    for (int64_t j = at.origin; j < at.keys; j += at.key_rows) {
      const Range block{j, std::min(at.keys, j + at.key_rows)}, seeing = at.queries_seeing(block);
      const int64_t t = seeing.begin;
      multiply(dkeys.at(j), ds.at(t, j - at.origin).t(), qs.at(t), block.size(), at.head, seeing.size());
      multiply(dvalues.at(j), p.at(t, j - at.origin).t(), dys.at(t), block.size(), at.head, seeing.size());
    }
    if constexpr (kRelative) {
      const Matrix parts{dr_parts.raw(), dr_parts.dtype(), at.width, distances * at.width, at.head};
      multiply(parts.moved(b * parts.per_batch), ds_position.t(), rows_of(term.q, b, at.heads), distances,
               at.head, at.queries);
    }
  }
  if constexpr (kRelative) {
    const AxisSplit over_batch{1, at.batch, distances * at.width};
    cuda::sum_axis(dterm.r.view_rows(0, distances), dr_parts, over_batch, 1.0, false);
    cuda::fill(dterm.r.view_rows(distances, at.positions), 0);  // distances that do not occur
  }
}

// Calls f<T, Score>() with the types of the data and of the scores in memory.
template <class F>
void dispatch_scores(DType dtype, const AttentionKernel& kernel, const F& f) {
  if (dtype == DType::bf16 && kernel.tuning.bf16_scores) return f.template operator()<bf16, bf16>();
  dispatch_device_float(dtype, "attention", [&f]<class T>() { f.template operator()<T, Compute<T>>(); });
}

}  // namespace

void attention_forward(const Tensor& y, const Tensor& lse, const Tensor& q, const Tensor& kv,
                       const PositionTerm& positions, const AttentionKernel& kernel) {
  if (q.numel() == 0) return;
  dispatch_scores(q.dtype(), kernel, [&]<class T, class Score>() {
    const auto run = positions.any() ? forward<T, true, Score> : forward<T, false, Score>;
    run(y, lse, q, kv, positions, kernel);
  });
}

// ops/attention_cpu/blocks.cpp has the formulas.
void attention_backward(const Tensor& dq, const Tensor& dkv, const PositionTerm& dpositions, const Tensor& dy,
                        const Tensor& q, const Tensor& kv, const PositionTerm& positions, const Tensor& y,
                        const Tensor& lse, const AttentionKernel& kernel) {
  if (q.numel() == 0) {
    cuda::fill(dkv, 0);
    if (positions.any()) cuda::fill(dpositions.r, 0);
    return;
  }
  dispatch_scores(q.dtype(), kernel, [&]<class T, class Score>() {
    const auto run = positions.any() ? backward<T, true, Score> : backward<T, false, Score>;
    run(dq, dkv, dpositions, dy, q, kv, positions, y, lse, kernel);
  });
}

}  // namespace tandem::cuda
