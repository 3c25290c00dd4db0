// The probability of every id, by a softmax over clusters and one within each tail.
#pragma once
#include <cmath>
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/adaptive_softmax.h"

namespace tandem::reference {

// The log-probabilities of one softmax: of the logits  z row + bias,  where z = x P (d_i), or x without a
// projection.
struct SoftmaxRow {
  const double* row;  // (d_i)
  double bias;
};
inline std::vector<double> log_softmax(const std::vector<double>& x, const Tensor& projection,
                                       const std::vector<SoftmaxRow>& rows, int64_t width) {
  std::vector<double> z = x;
  if (projection.defined()) {
    z.assign(static_cast<size_t>(width), 0);
    for (size_t i = 0; i < x.size(); ++i)
      for (int64_t j = 0; j < width; ++j)
        z[j] += x[i] * projection.data<double>()[static_cast<int64_t>(i) * width + j];
  }
  std::vector<double> logits;
  double total = 0;
  for (const auto& [row, bias] : rows) {
    double logit = bias;
    for (int64_t j = 0; j < width; ++j) logit += z[j] * row[j];
    logits.push_back(logit);
    total += std::exp(logit);
  }
  for (double& logit : logits) logit -= std::log(total);
  return logits;
}

// log P of all V ids for one token with the features x (d), without dropout:
//
//     id in cluster 0:      log P(id) = log P_head(id)
//     id in cluster i > 0:  log P(id) = log P_head(cluster i) + log P_tail_i(id)
inline std::vector<double> adaptive_log_probabilities(const std::vector<double>& x,
                                                      const AdaptiveSoftmaxWeights& w) {
  const bool one_table = w.rows.size() == 1;
  const auto tails = static_cast<int64_t>(w.cutoffs.size());
  const auto bias_of = [](const Tensor& bias, int64_t row) {
    return bias.defined() ? bias.data<double>()[row] : 0.0;
  };
  std::vector<double> all, of_tails;
  for (int64_t i = 0, begin = 0; i <= tails; ++i) {
    const Tensor& table = w.rows[one_table ? 0 : i];
    const Tensor bias = w.biases.empty() ? Tensor() : w.biases[one_table ? 0 : i];
    const int64_t width = table.size(1);
    const int64_t end = i < tails ? w.cutoffs[i] : (one_table ? 0 : begin) + table.size(0);
    std::vector<SoftmaxRow> rows;
    for (int64_t id = begin; id < end; ++id) {
      const int64_t row = one_table ? id : id - begin;
      rows.push_back({table.data<double>() + row * width, bias_of(bias, row)});
    }
    for (int64_t j = 0; i == 0 && j < tails; ++j) {  // the head scores the tails too
      const int64_t row = w.reversed_clusters ? tails - 1 - j : j;
      rows.push_back({w.cluster_rows.data<double>() + row * width, bias_of(w.cluster_bias, row)});
    }
    const std::vector<double> own =
        log_softmax(x, w.projections.empty() ? Tensor() : w.projections[i], rows, width);
    for (int64_t id = begin; id < end; ++id) all.push_back(own[id - begin] + (i > 0 ? of_tails[i - 1] : 0.0));
    if (i == 0) of_tails.assign(own.begin() + end, own.end());
    begin = end;
  }
  return all;
}

// hidden (..., d) and targets (...) to (...): -log P of each target.
inline Tensor adaptive_softmax_nll(const Tensor& hidden, const Tensor& targets,
                                   const AdaptiveSoftmaxWeights& w) {
  Tensor nll(targets.shape(), DType::f64);
  const int64_t d = hidden.size(-1);
  for (int64_t t = 0; t < targets.numel(); ++t) {
    const double* x = hidden.data<double>() + t * d;
    nll.data<double>()[t] = -adaptive_log_probabilities({x, x + d}, w)[targets.data<int32_t>()[t]];
  }
  return nll;
}

}  // namespace tandem::reference
