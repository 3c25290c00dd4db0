// Embedding and output layer, plain or in clusters.
#include "tandem/models/layers/token_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/ops/adaptive/clusters.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/concat.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/embedding.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

// Size and features of a cluster.
struct Cluster {
  int64_t size, width;
};

std::vector<Cluster> clusters_of(const TokenConfig& config, int64_t d) {
  std::vector<Cluster> clusters;
  int64_t begin = 0, width = config.d_embed > 0 ? config.d_embed : d;
  for (size_t i = 0; i <= config.cutoffs.size(); ++i) {
    const int64_t end = i < config.cutoffs.size() ? config.cutoffs[i] : config.vocabulary;
    clusters.push_back({end - begin, width});
    begin = end;
    width /= config.div_val;
  }
  return clusters;
}

template <size_t N>
void check_one_of(const char* field, const std::string& value, const std::array<const char*, N>& known) {
  TANDEM_CHECK(std::find(known.begin(), known.end(), value) != known.end(),
               "vocabulary: {} is {}; it must be one of {}", field, value, fmt::join(known, ", "));
}

// Transformer-XL: if all clusters have d features, there is one table and nothing to project.
bool one_table(const TokenConfig& config, int64_t d) {
  return config.adaptive == "projected" && config.div_val == 1 && clusters_of(config, d)[0].width == d;
}

std::string numbered(const char* what, size_t cluster) {
  return fmt::format("{}.{}", what, cluster);
}

}  // namespace

void TokenConfig::check(int64_t d) const {
  TANDEM_CHECK(vocabulary > 0, "vocabulary: its size must be positive, got {}", vocabulary);
  TANDEM_CHECK(cluster_dropout >= 0 && cluster_dropout < 1, "vocabulary: band_dropout {} must be in [0, 1)",
               cluster_dropout);
  check_one_of("adaptive", adaptive, std::array{"projected", "baevski", "pytorch"});
  check_one_of("tied_projections", tie_projs, std::array{"none", "tails", "all"});
  if (cutoffs.empty()) {
    TANDEM_CHECK(d_embed == 0 || d_embed == d, "vocabulary: a width of {} features needs cutoffs; d is {}",
                 d_embed, d);
    return;
  }
  TANDEM_CHECK(div_val >= 1, "vocabulary: band_divisor must be 1 or more, got {}", div_val);
  for (const Cluster& cluster : clusters_of(*this, d))
    TANDEM_CHECK(
        cluster.size > 0 && cluster.width > 0,
        "vocabulary: the cutoffs {} of {} words, with {} features divided by {}, leave a cluster of {} words with {} "
        "features",
        fmt::join(cutoffs, ", "), vocabulary, d_embed > 0 ? d_embed : d, div_val, cluster.size,
        cluster.width);
  TANDEM_CHECK(adaptive != "pytorch" || !tied,
               "vocabulary: the output \"pytorch\" has rows of its own; set tied to false");
  TANDEM_CHECK(
      adaptive == "projected" || d_embed == 0 || d_embed == d,
      "vocabulary: \"{}\" scores the first cluster without a projection, so band_width must be d, {}, not {}",
      adaptive, d, d_embed);
}

void TokenConfig::token_fields(Fields& field) {
  field("vocabulary", vocabulary);
  field("tied", tied);
  field("cutoffs", cutoffs);
  field("band_width", d_embed);
  field("band_divisor", div_val);
  field("adaptive", adaptive);
  field("tied_projections", tie_projs);
  field("band_dropout", cluster_dropout);
  field("dtype", dtype);
}

TokenEmbedding::TokenEmbedding(const TokenConfig& config, int64_t d, double scale,
                               const TokenInitializers& values)
    : scale_(scale), dropout_(config.cluster_dropout) {
  config.check(d);
  if (config.cutoffs.empty() || config.adaptive == "pytorch" || one_table(config, d)) {
    weights_.rows = {add_parameter("weight", values.rows({config.vocabulary, d}))};
    return;
  }
  weights_.cutoffs = config.cutoffs;
  const std::vector<Cluster> clusters = clusters_of(config, d);
  for (size_t i = 0; i < clusters.size(); ++i) {
    weights_.rows.push_back(
        add_parameter(numbered("rows", i), values.rows({clusters[i].size, clusters[i].width})));
    weights_.projections.push_back(
        add_parameter(numbered("projections", i), values.projections({d, clusters[i].width})));
  }
}

Tensor TokenEmbedding::forward(const Tensor& tokens, const ForwardOptions& options, uint32_t site) const {
  if (weights_.rows.size() > 1) {
    AdaptiveEmbeddingOptions lookup;
    lookup.scale = scale_;
    lookup.dropout = options.training ? dropout_ : 0;
    lookup.key = {options.seed, options.step, site};
    lookup.dtype = activation_dtype(rows());
    return adaptive_embedding(tokens, weights_, lookup);
  }
  const Tensor x = embedding(tokens, rows(), activation_dtype(rows()));
  return scale_ == 1 ? x : scale(x, scale_);
}

TokenOutput::TokenOutput(const TokenConfig& config, int64_t d, const TokenEmbedding& embedding,
                         const TokenInitializers& values, bool with_bias)
    : adaptive_(!config.cutoffs.empty()), dropout_(config.cluster_dropout) {
  config.check(d);
  const auto bias = [this, &config](const std::string& name, int64_t n) {
    return add_parameter(name, zeros({n}, config.dtype, config.device));
  };
  if (!adaptive_ || one_table(config, d)) {
    weights_.rows = {config.tied ? embedding.rows()
                                 : add_parameter("weight", values.rows({config.vocabulary, d}))};
    TANDEM_CHECK(weights_.rows[0].size(1) == d,
                 "output: tied to an embedding of width {}, but the last layer's width is {}",
                 weights_.rows[0].size(1), d);
    if (with_bias) weights_.biases = {bias("bias", config.vocabulary)};
    if (!adaptive_) return;
  }
  weights_.cutoffs = config.cutoffs;
  const std::vector<Cluster> clusters = clusters_of(config, d);
  const bool projected = config.adaptive == "projected";
  if (!one_table(config, d))
    for (size_t i = 0; i < clusters.size(); ++i) {
      const auto [size, width] = clusters[i];
      weights_.rows.push_back(config.tied ? embedding.weights().rows[i]
                                          : add_parameter(numbered("rows", i), values.rows({size, width})));
      const bool own = config.tie_projs == "none" || (config.tie_projs == "tails" && i == 0);
      weights_.projections.push_back(
          i == 0 && !projected ? Tensor()
          : own                ? add_parameter(numbered("projections", i), values.projections({d, width}))
                               : embedding.weights().projections.at(i));
      if (projected) weights_.biases.push_back(bias(numbered("biases", i), size));
    }
  const auto tails = static_cast<int64_t>(config.cutoffs.size());
  weights_.cluster_rows = add_parameter("clusters.weight", values.rows({tails, clusters[0].width}));
  if (projected) weights_.cluster_bias = bias("clusters.bias", tails);
}

Tensor TokenOutput::logits(const Tensor& h) const {
  if (adaptive_) return adaptive_log_probabilities(h, weights_);
  return linear(h, weights_.rows[0], weights_.biases.empty() ? Tensor() : weights_.biases[0]);
}

std::vector<Tensor> TokenOutput::softmax_logits(const Tensor& h, const ForwardOptions& options,
                                                uint32_t site) const {
  const Tensor x = reshape(h, {h.numel() / h.size(-1), h.size(-1)});
  if (!adaptive_) return {logits(x)};
  TANDEM_CHECK(!weights_.reversed_clusters, "output: softmax_logits() takes clusters in their order alone");
  const VocabularyClusters clusters = vocabulary_clusters("output", weights_.cutoffs, weights_.rows);
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i < clusters.count(); ++i) sizes.push_back(clusters.size(i));
  // One table for all clusters is cut into theirs.
  const auto of_clusters = [&sizes](const std::vector<Tensor>& tables) {
    if (tables.empty()) return std::vector<Tensor>(sizes.size());
    return tables.size() == 1 ? split(tables[0], sizes) : tables;
  };
  const std::vector<Tensor> rows = of_clusters(weights_.rows), biases = of_clusters(weights_.biases);
  std::vector<Tensor> all;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Tensor projection = weights_.projections.empty() ? Tensor() : weights_.projections[i];
    Tensor z = x;
    if (projection.defined())
      z = dropout(matmul(x, cast(projection, x.dtype())), options.training ? dropout_ : 0,
                  cluster_key({options.seed, options.step, site}, static_cast<int64_t>(i)));
    all.push_back(linear(z, rows[i], biases[i]));
    if (i == 0) all[0] = concat_columns({all[0], linear(z, weights_.cluster_rows, weights_.cluster_bias)});
  }
  return all;
}

Tensor TokenOutput::loss(const Tensor& h, const Tensor& targets, const ForwardOptions& options,
                         uint32_t site) const {
  if (!adaptive_) return cross_entropy_in_place(logits(h), targets);
  AdaptiveSoftmaxOptions softmax;
  softmax.dropout = options.training ? dropout_ : 0;
  softmax.key = {options.seed, options.step, site};
  return adaptive_softmax_loss(h, targets, weights_, softmax);
}

Tensor TokenOutput::token_losses(const Tensor& h, const Tensor& targets) const {
  NoGrad pause;
  const Tensor losses =
      adaptive_ ? adaptive_softmax_nll(h, targets, weights_) : token_nll(logits(h), targets);
  return losses.view_as(targets.shape());
}

double TokenOutput::forward_flops() const {
  if (!adaptive_) return 2.0 * static_cast<double>(weights_.rows[0].numel());
  const VocabularyClusters clusters = vocabulary_clusters("output", weights_.cutoffs, weights_.rows);
  double sum = 0;
  for (int64_t i = 0; i < clusters.count(); ++i) {
    const Tensor rows = of_cluster(weights_.rows, clusters, i);
    double products = static_cast<double>(rows.numel());
    if (!weights_.projections.empty() && weights_.projections[static_cast<size_t>(i)].defined())
      products += static_cast<double>(weights_.projections[static_cast<size_t>(i)].numel());
    const double share = i == 0 ? 1
                                : std::log(static_cast<double>(clusters.ends[static_cast<size_t>(i)]) /
                                           static_cast<double>(clusters.begin(i))) /
                                      std::log(static_cast<double>(clusters.vocabulary()));
    sum += 2 * share * products;
  }
  return sum + 2.0 * static_cast<double>(weights_.cluster_rows.numel());
}

}  // namespace tandem
