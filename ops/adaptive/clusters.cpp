// Checks the clusters of a vocabulary.
#include "tandem/ops/adaptive/clusters.h"

#include <fmt/format.h>

#include "tandem/core/check.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {

VocabularyClusters vocabulary_clusters(const char* op, const std::vector<int64_t>& cutoffs,
                                       const std::vector<Tensor>& rows) {
  const size_t count = cutoffs.size() + 1;
  TANDEM_CHECK(
      rows.size() == 1 || rows.size() == count,
      "{}: weights.rows has {} tables; weights.cutoffs ({}) make {} clusters, which take one each, or one table for all",
      op, rows.size(), fmt::join(cutoffs, ", "), count);
  for (size_t i = 0; i < rows.size(); ++i)
    TANDEM_CHECK(rows[i].defined() && rows[i].rank() == 2 && is_floating(rows[i].dtype()),
                 "{}: weights.rows[{}] is {}; it must be a floating matrix, a row for each id", op, i,
                 rows[i].summary());
  VocabularyClusters clusters{cutoffs};
  const int64_t before_last = rows.size() == 1 || cutoffs.empty() ? 0 : cutoffs.back();
  clusters.ends.push_back(before_last + rows.back().size(0));
  for (int64_t i = 0; i < clusters.count(); ++i)
    TANDEM_CHECK(
        clusters.size(i) > 0,
        "{}: weights.cutoffs ({}) must ascend, all above 0 and below the vocabulary of {} that weights.rows give",
        op, fmt::join(cutoffs, ", "), clusters.vocabulary());
  for (size_t i = 0; i < rows.size() && rows.size() > 1; ++i)
    TANDEM_CHECK(rows[i].size(0) == clusters.size(static_cast<int64_t>(i)),
                 "{}: weights.rows[{}] is {}; by weights.cutoffs ({}) the cluster has {} ids", op, i,
                 rows[i].shape().str(), fmt::join(cutoffs, ", "), clusters.size(static_cast<int64_t>(i)));
  return clusters;
}

Tensor of_cluster(const std::vector<Tensor>& tensors, const VocabularyClusters& clusters, int64_t i) {
  if (tensors.size() > 1) return tensors[static_cast<size_t>(i)];
  if (tensors.empty() || !tensors[0].defined()) return {};
  return tensors[0].view_rows(clusters.begin(i), clusters.ends[static_cast<size_t>(i)]);
}

// Another seed gives another stream of Philox. The step is left as it is, because a device may still have to
// fill it in.
DropoutKey cluster_key(DropoutKey key, int64_t i) {
  key.seed += static_cast<uint64_t>(i) * 0x9E3779B97F4A7C15u;
  return key;
}

void check_weight(const MainOperand& main, const char* what, const Tensor& w) {
  const Tensor& x = main.value;
  TANDEM_CHECK(!w.defined() || ((w.dtype() == x.dtype() || w.dtype() == parameter_dtype(x.dtype())) &&
                                w.device() == x.device()),
               "{}: {} is {}, but {} is {}; it must be {}, on the same device", main.op, what, w.summary(),
               main.name, x.summary(), name_of(parameter_dtype(x.dtype())));
}

}  // namespace tandem
