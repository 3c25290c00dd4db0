// The row of an id in the table of its cluster, projected to the common width.
#pragma once
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/adaptive_embedding.h"

namespace tandem::reference {

// ids (...) to (..., d), without dropout:
//
//     y[t, j] = scale * sum over k of P[j, k] row[k]        where the cluster has a projection P, else scale * row[j]
inline Tensor adaptive_embedding(const Tensor& ids, const AdaptiveEmbeddingWeights& weights, int64_t d,
                                 double scale) {
  std::vector<int64_t> sizes(ids.shape().begin(), ids.shape().end());
  sizes.push_back(d);
  Tensor y(Shape(std::span<const int64_t>(sizes)), DType::f64);
  for (int64_t t = 0; t < ids.numel(); ++t) {
    // The tables follow one another: an id's place in its own is what is left of it after the tables before.
    int64_t place = ids.data<int32_t>()[t];
    size_t cluster = 0;
    while (cluster + 1 < weights.rows.size() && place >= weights.rows[cluster].size(0))
      place -= weights.rows[cluster++].size(0);
    const int64_t width = weights.rows[cluster].size(1);
    const double* row = weights.rows[cluster].data<double>() + place * width;
    const Tensor& projection = weights.projections[cluster];
    for (int64_t j = 0; j < d; ++j) {
      double sum = projection.defined() ? 0 : row[j];
      if (projection.defined())
        for (int64_t k = 0; k < width; ++k) sum += projection.data<double>()[j * width + k] * row[k];
      y.data<double>()[t * d + j] = scale * sum;
    }
  }
  return y;
}

}  // namespace tandem::reference
