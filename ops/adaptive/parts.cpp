// Checks the weights of an adaptive softmax, and sorts tokens by cluster.
#include "tandem/ops/adaptive/parts.h"

#include <algorithm>

#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/ops/support/check_ids.h"

namespace tandem {

VocabularyClusters checked_clusters(const char* op, const Tensor& hidden, const AdaptiveSoftmaxWeights& w) {
  check_floating(op, {{"hidden", hidden}});
  TANDEM_CHECK(hidden.rank() >= 1 && hidden.size(-1) > 0,
               "{}: hidden is {}; it must be (..., d) with d at least 1", op, hidden.summary());
  VocabularyClusters clusters = vocabulary_clusters(op, w.cutoffs, w.rows);
  TANDEM_CHECK(
      w.projections.empty() || static_cast<int64_t>(w.projections.size()) == clusters.count(),
      "{}: weights.projections has {} tensors; {} clusters take one each (undefined: none), or there are none at all",
      op, w.projections.size(), clusters.count());
  TANDEM_CHECK(
      w.biases.empty() || w.biases.size() == w.rows.size(),
      "{}: weights.biases has {} tensors for {} tables in weights.rows; each takes one (undefined: none), or there are none "
      "at all",
      op, w.biases.size(), w.rows.size());
  for (size_t i = 0; i < w.biases.size(); ++i)
    TANDEM_CHECK(!w.biases[i].defined() || w.biases[i].shape() == Shape{w.rows[i].size(0)},
                 "{}: weights.biases[{}] is {}; with rows {} it must be ({})", op, i, w.biases[i].summary(),
                 w.rows[i].shape().str(), w.rows[i].size(0));
  const int64_t d = hidden.size(-1);
  for (int64_t i = 0; i < clusters.count(); ++i) {
    const Softmax softmax = softmax_of(w, clusters, i);
    const int64_t width = softmax.pieces[0].rows.size(1);
    const Tensor& projection = softmax.projection;
    TANDEM_CHECK(
        projection.defined() || width == d,
        "{}: weights.rows of cluster {} have {} features, and weights.projections has none to them from hidden's {}",
        op, i, width, d);
    TANDEM_CHECK(
        !projection.defined() || projection.shape() == Shape({d, width}),
        "{}: weights.projections[{}] is {}; from hidden (..., {}) to rows of {} features it must be ({}, {})",
        op, i, projection.summary(), d, width, d, width);
  }
  const int64_t tails = clusters.count() - 1;
  const auto text = [](const Tensor& x) { return x.defined() ? x.shape().str() : "undefined"; };
  TANDEM_CHECK(tails == 0
                   ? !w.cluster_rows.defined()
                   : w.cluster_rows.defined() && w.cluster_rows.shape() == Shape({tails, w.rows[0].size(1)}),
               "{}: weights.cluster_rows is {}; {} cutoffs and rows {} want {}", op, text(w.cluster_rows),
               tails, w.rows[0].shape().str(), tails == 0 ? "none" : Shape({tails, w.rows[0].size(1)}).str());
  TANDEM_CHECK(!w.cluster_bias.defined() || (tails > 0 && w.cluster_bias.shape() == Shape{tails}),
               "{}: weights.cluster_bias is {}; there are {} tails", op, text(w.cluster_bias), tails);
  const MainOperand main{op, "hidden", hidden};
  for (const Tensor& x : w.rows) check_weight(main, "weights.rows", x);
  for (const Tensor& x : w.biases) check_weight(main, "weights.biases", x);
  for (const Tensor& x : w.projections) check_weight(main, "weights.projections", x);
  check_weight(main, "weights.cluster_rows", w.cluster_rows);
  check_weight(main, "weights.cluster_bias", w.cluster_bias);
  return clusters;
}

Softmax softmax_of(const AdaptiveSoftmaxWeights& w, const VocabularyClusters& clusters, int64_t i) {
  Softmax softmax;
  if (!w.projections.empty()) softmax.projection = w.projections[static_cast<size_t>(i)];
  softmax.pieces.push_back({of_cluster(w.rows, clusters, i), of_cluster(w.biases, clusters, i)});
  if (i == 0 && clusters.count() > 1)
    softmax.pieces.push_back({w.cluster_rows, w.cluster_bias, clusters.size(0)});
  return softmax;
}

int64_t cluster_column(const AdaptiveSoftmaxWeights& w, const VocabularyClusters& clusters, int64_t i) {
  return clusters.size(0) + (w.reversed_clusters ? clusters.count() - 1 - i : i - 1);
}

SoftmaxTokens softmax_tokens(const char* op, const Tensor& targets, const AdaptiveSoftmaxWeights& w,
                             const VocabularyClusters& clusters) {
  if constexpr (kWithCuda)
    if (targets.device().is_cuda())
      cuda::refuse_capture("adaptive_softmax waits for the numbers of tokens in its clusters");
  const Tensor host = targets.detach().to(Device::cpu());
  check_ids((std::string(op) + ": targets").c_str(), host, clusters.vocabulary());
  const int64_t n = host.numel(), count = clusters.count();
  std::vector<std::vector<int32_t>> index(count), columns(count);
  for (int64_t t = 0; t < n; ++t) {
    const int32_t id = host.data<int32_t>()[t];
    const int64_t cluster =
        std::upper_bound(clusters.ends.begin(), clusters.ends.end(), id) - clusters.ends.begin();
    columns[0].push_back(static_cast<int32_t>(cluster == 0 ? id : cluster_column(w, clusters, cluster)));
    if (cluster == 0) continue;
    index[cluster].push_back(static_cast<int32_t>(t));
    columns[cluster].push_back(id - static_cast<int32_t>(clusters.begin(cluster)));
  }
  const auto on_device = [&targets](const std::vector<int32_t>& values) {
    return tensor_of<int32_t>({static_cast<int64_t>(values.size())}, values).to(targets.device());
  };
  SoftmaxTokens tokens{{Tensor()}, {on_device(columns[0])}};
  for (int64_t i = 1; i < count; ++i) {
    tokens.index.push_back(on_device(index[i]));
    tokens.columns.push_back(on_device(columns[i]));
  }
  return tokens;
}

}  // namespace tandem
