// adaptive_embedding: the rows of each cluster are looked up, projected and added up.
#include "tandem/ops/adaptive_embedding.h"

#include "tandem/autograd/accumulate.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/adaptive/clusters.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/embedding.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/support/check_ids.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

using Weights = AdaptiveEmbeddingWeights;
using Options = AdaptiveEmbeddingOptions;

constexpr const char* kName = "adaptive_embedding";

template <class T>
TANDEM_INLINE void scaled_row_body(T* y, const T* x, T scale, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] = x[j] * scale;
}
TANDEM_SIMD void scaled_row(float* y, const float* x, float scale, int64_t n) {
  scaled_row_body(y, x, scale, n);
}
TANDEM_SIMD void scaled_row(double* y, const double* x, double scale, int64_t n) {
  scaled_row_body(y, x, scale, n);
}

// Returns the projection of table i, undefined if there is none.
Tensor projection_of(const Weights& w, int64_t i) {
  return w.projections.empty() ? Tensor() : w.projections[i];
}

// Returns the clusters, after checking the weights. With one table there is one cluster, whatever the cutoffs.
VocabularyClusters checked_clusters(const Weights& w) {
  const VocabularyClusters clusters = vocabulary_clusters(kName, w.cutoffs, w.rows);
  TANDEM_CHECK(
      w.projections.empty() || w.projections.size() == w.rows.size(),
      "{}: weights.projections has {} tensors for {} tables in weights.rows; each takes one (undefined: none), or there are none "
      "at all",
      kName, w.projections.size(), w.rows.size());
  const Tensor first = projection_of(w, 0);
  TANDEM_CHECK(!first.defined() || first.rank() == 2, "{}: weights.projections[0] is {}; it must be (d, d_0)",
               kName, first.summary());
  const int64_t d = first.defined() ? first.size(0) : w.rows[0].size(1);
  for (int64_t i = 0; i < static_cast<int64_t>(w.rows.size()); ++i) {
    const int64_t width = w.rows[i].size(1);
    const Tensor projection = projection_of(w, i);
    TANDEM_CHECK(
        projection.defined() || width == d,
        "{}: weights.rows[{}] has {} features, and weights.projections has none to the {} of the result",
        kName, i, width, d);
    TANDEM_CHECK(!projection.defined() || projection.shape() == Shape({d, width}),
                 "{}: weights.projections[{}] is {}; from rows of {} features to {} it must be ({}, {})",
                 kName, i, projection.summary(), width, d, d, width);
    check_weight({kName, "weights.rows[0]", w.rows[0]}, "weights.rows", w.rows[i]);
    check_weight({kName, "weights.rows[0]", w.rows[0]}, "weights.projections", projection);
  }
  return w.rows.size() == 1 ? VocabularyClusters{{clusters.vocabulary()}} : clusters;
}

struct Call {
  Tensor ids;
  Weights weights;
  VocabularyClusters clusters;
  Options options;
  DType dtype;
  MatmulPrecision precision;
};

// Returns g (N, d_i) = scale dropout(the rows of cluster i), 0 for tokens of other clusters.
Tensor rows_of(const Call& call, int64_t i) {
  const Options& options = call.options;
  const Tensor& table = call.weights.rows[i];
  const Tensor g({call.ids.numel(), table.size(1)}, call.dtype, table.device());
  const ClusterIds cluster{call.clusters.begin(i), call.clusters.vocabulary()};
  TANDEM_DISPATCH(g.device(), cluster_table_rows(g, call.ids, table, cluster, options.scale));
  if (options.dropout > 0)
    TANDEM_DISPATCH(g.device(), dropout(g, g, g.numel(), options.dropout, cluster_key(options.key, i)));
  return g;
}

// Computes dP = dy^T g.
Tensor projection_gradient(const Call& call, const Tensor& dy, int64_t i) {
  const GradTarget target = grad_target(call.weights.projections[i]);
  if (dy.size(0) > 0)
    TANDEM_DISPATCH(
        dy.device(),
        matmul(target.grad, dy, rows_of(call, i),
               {.transpose_a = true, .accumulate = target.accumulate, .precision = call.precision}));
  else if (!target.accumulate)
    fill(target.grad, 0);
  return target.grad;
}

// Computes drows[id] += scale mask (dy P).
Tensor rows_gradient(const Call& call, const Tensor& dy, int64_t i) {
  const Options& options = call.options;
  const Tensor& table = call.weights.rows[i];
  const Tensor projection = projection_of(call.weights, i);
  const Tensor dg({dy.size(0), table.size(1)}, dy.dtype(), dy.device()), local = empty_like(call.ids);
  if (projection.defined())
    TANDEM_DISPATCH(dy.device(),
                    matmul(dg, dy, weight_as(projection, dy.dtype()), {.precision = call.precision}));
  TANDEM_DISPATCH(dy.device(), scale(dg, projection.defined() ? dg : dy, options.scale));
  if (options.dropout > 0)
    TANDEM_DISPATCH(dg.device(), dropout(dg, dg, dg.numel(), options.dropout, cluster_key(options.key, i)));
  TANDEM_DISPATCH(dy.device(), shift_ids(local, call.ids, call.clusters.begin(i)));
  const GradTarget target = grad_target(table);
  TANDEM_DISPATCH(dy.device(), embedding_backward(target.grad, dg, local, target.accumulate));
  return target.grad;
}

Call checked_call(const Tensor& ids, const Weights& w, const Options& options) {
  check_defined(kName, {{"ids", ids}});
  const VocabularyClusters clusters = checked_clusters(w);
  const Tensor& table = w.rows[0];
  const DType dtype = options.dtype.value_or(table.dtype());
  TANDEM_CHECK(ids.device() == table.device(),
               "{}: ids are {}, weights.rows[0] is {}; bring both to one device with .to()", kName,
               ids.summary(), table.summary());
  TANDEM_CHECK(
      table.dtype() == parameter_dtype(dtype) && (dtype == table.dtype() || table.device().is_cuda()),
      "{}: weights.rows[0] is {}; it cannot give {}", kName, table.summary(), name_of(dtype));
  TANDEM_CHECK(options.dropout >= 0 && options.dropout < 1,
               "{}: options.dropout is {}; a probability of dropping must lie in [0, 1)", kName,
               options.dropout);
  TANDEM_CHECK(ids.rank() < Shape::kMaxRank, "{}: ids {} have {} axes; the result would have more than {}",
               kName, ids.shape().str(), ids.rank(), Shape::kMaxRank);
  check_ids("adaptive_embedding: ids", ids, clusters.vocabulary());
  return {ids, w, clusters, options, dtype, matmul_precision()};
}

}  // namespace

namespace cpu {

void cluster_table_rows(const Tensor& y, const Tensor& ids, const Tensor& table, ClusterIds cluster,
                        double scale) {
  dispatch_float(y.dtype(), kName, [&]<class T>() {
    T* out = y.data<T>();
    const T* rows = table.data<T>();
    const int32_t* id = ids.data<int32_t>();
    const int64_t count = table.size(0), width = table.size(1), begin = cluster.begin;
    for_rows(ids.numel(), width, [out, rows, id, count, width, begin, scale](int64_t t, int64_t end) {
      for (; t < end; ++t) {
        const int64_t row = id[t] - begin;
        if (row >= 0 && row < count)
          scaled_row(out + t * width, rows + row * width, static_cast<T>(scale), width);
        else
          std::fill_n(out + t * width, width, T(0));
      }
    });
  });
}

void shift_ids(const Tensor& y, const Tensor& ids, int64_t begin) {
  for (int64_t t = 0; t < ids.numel(); ++t)
    y.data<int32_t>()[t] = ids.data<int32_t>()[t] - static_cast<int32_t>(begin);
}

}  // namespace cpu

// y = sum over clusters i of g_i P_i^T, where g_i = scale dropout(rows_i[ids]) is 0 outside the token's own
// cluster.
Tensor adaptive_embedding(const Tensor& ids, const Weights& w, const Options& options) {
  const Call call = checked_call(ids, w, options);
  Tensor y;  // (N, d)
  for (int64_t i = 0; i < call.clusters.count(); ++i) {
    const Tensor g = rows_of(call, i), projection = projection_of(w, i);
    if (projection.defined()) {
      if (i == 0) y = Tensor({g.size(0), projection.size(0)}, g.dtype(), g.device());
      TANDEM_DISPATCH(g.device(),
                      matmul(y, g, weight_as(projection, g.dtype()),
                             {.transpose_b = true, .accumulate = i > 0, .precision = call.precision}));
    } else if (i == 0) {
      y = g;
    } else {
      add_in_place(y, g);
    }
  }
  std::vector<int64_t> sizes(ids.shape().begin(), ids.shape().end());
  sizes.push_back(y.size(1));
  std::vector<Tensor> inputs = w.rows;
  inputs.insert(inputs.end(), w.projections.begin(), w.projections.end());
  return record(kName, y.view_as(Shape(std::span<const int64_t>(sizes))), inputs,
                [call, inputs](const Tensor& dy) -> Grads {
                  const Tensor rows = dy.view_as({call.ids.numel(), dy.size(-1)});
                  const int64_t count = call.clusters.count();
                  Grads grads(inputs.size());
                  for (int64_t i = 0; i < static_cast<int64_t>(inputs.size()); ++i)
                    if (needs_grad(inputs[i]))
                      grads[i] = i < count ? rows_gradient(call, rows, i)
                                           : projection_gradient(call, rows, i - count);
                  return grads;
                });
}

}  // namespace tandem
