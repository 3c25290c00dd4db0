// Benchmark cases of adaptive_softmax and adaptive_embedding, with the clusters that WikiText-103's words have
// in Transformer-XL: 20000, 20000, 160000 and 67735 ids of d, d/4, d/16 and d/64 features.
#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/random.h"
#include "ops/adaptive_embedding.h"
#include "ops/adaptive_softmax.h"
#include "ops/cross_entropy.h"
#include "ops/linear.h"
#include "ops/support/weight_cache.h"
#include "tools/bench/operators.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

using Tensors = std::vector<Tensor>;

constexpr int64_t kClusters = 4;

// The ends of the clusters, of fewer words in proportion; the last is the vocabulary.
std::vector<int64_t> ends_of(int64_t words) {
  std::vector<int64_t> ends;
  for (const int64_t end : {20'000, 40'000, 200'000}) ends.push_back(end * words / BenchSizes::kWords);
  ends.push_back(words);
  return ends;
}

std::vector<int64_t> cutoffs_of(int64_t words) {
  const std::vector<int64_t> ends = ends_of(words);
  return {ends.begin(), ends.end() - 1};
}

// The rows of all clusters, then their projections.
Tensors rows_and_projections(const BenchSizes& s) {
  const std::vector<int64_t> ends = ends_of(s.words);
  const int64_t d = s.d;
  Tensors rows, projections;
  for (int64_t i = 0; i < kClusters; ++i) {
    const int64_t width = std::max<int64_t>(1, d >> (2 * i)), begin = i > 0 ? ends[i - 1] : 0;
    const double row = 1 / std::sqrt(width), projection = 1 / std::sqrt(d);
    rows.push_back(bench_random({ends[i] - begin, width}, 10 + i, -row, row));
    projections.push_back(bench_random({d, width}, 20 + i, -projection, projection));
  }
  rows.insert(rows.end(), projections.begin(), projections.end());
  return rows;
}

std::vector<Tensor> part(const Tensors& all, int64_t first) {
  return {all.begin() + first, all.begin() + first + kClusters};
}

// Ids whose frequency falls as 1 / rank.
Tensor words(const BenchSizes& s) {
  Tensor ids({s.unroll, s.batch_size}, DType::i32);
  Random random(1);
  const auto count = static_cast<double>(s.words);
  for (int32_t& id : ids.span<int32_t>()) {
    const double rank = std::exp(random.uniform(0, std::log(count)));
    id = static_cast<int32_t>(std::min(rank, count)) - 1;
  }
  return ids.to(bench_device());
}

// Tokens in each cluster.
std::vector<double> tokens_of(const Tensor& ids, const std::vector<int64_t>& ends) {
  std::vector<double> tokens(kClusters, 0);
  for (const int32_t id : ids.to_vector<int32_t>())
    ++tokens[std::upper_bound(ends.begin(), ends.end(), id) - ends.begin()];
  return tokens;
}

// What the clusters save: one row of d features for every word, and a logit for every word and token.
BenchCase full_softmax_case(const BenchSizes& s, const Tensor& targets, MatmulPrecision precision) {
  TapeCase c;
  c.op = "adaptive_softmax";
  c.name = fmt::format("({}, {}, {}), {} words, full softmax", s.unroll, s.batch_size, s.d, s.words);
  c.precision = precision;
  const double bound = 1 / std::sqrt(s.d);
  c.inputs = {bench_activation({s.unroll, s.batch_size, s.d}, precision, 2), targets,
              bench_random({s.words, s.d}, 3, -bound, bound)};
  c.run = [](const Tensors& in) { return Tensors{cross_entropy_in_place(linear(in[0], in[2]), in[1])}; };
  c.forward.flops = 2 * static_cast<double>(s.tokens()) * static_cast<double>(c.inputs[2].numel());
  c.backward.flops = 2 * c.forward.flops;
  return tape_case(std::move(c));
}

}  // namespace

void add_adaptive_softmax_cases(std::vector<BenchCase>& cases, const BenchSizes& s,
                                MatmulPrecision precision) {
  const Tensor targets = words(s);
  TapeCase c;
  c.op = "adaptive_softmax";
  c.name = fmt::format("({}, {}, {}), {} words in clusters", s.unroll, s.batch_size, s.d, s.words);
  c.precision = precision;
  c.inputs = {bench_activation({s.unroll, s.batch_size, s.d}, precision, 2), targets,
              bench_random({kClusters - 1, s.d}, 3)};
  for (const Tensor& x : rows_and_projections(s)) c.inputs.push_back(x);
  c.run = [cutoffs = cutoffs_of(s.words)](const Tensors& in) {
    AdaptiveSoftmaxWeights w;
    w.cutoffs = cutoffs;
    w.rows = part(in, 3);
    w.projections = part(in, 3 + kClusters);
    w.cluster_rows = in[2];
    return Tensors{adaptive_softmax_loss(in[0], in[1], w)};
  };
  // All three products of each weight are in the forward pass, the gradients' too.
  std::vector<double> tokens = tokens_of(targets, ends_of(s.words));
  tokens[0] = static_cast<double>(s.tokens());
  for (int64_t i = 0; i < kClusters; ++i) {
    const Tensor &rows = c.inputs[3 + i], &projection = c.inputs[3 + kClusters + i];
    c.forward.flops += 6 * tokens[i] * static_cast<double>(rows.numel() + projection.numel());
  }
  cases.push_back(tape_case(std::move(c)));
  cases.push_back(full_softmax_case(s, targets, precision));
}

void add_adaptive_embedding_cases(std::vector<BenchCase>& cases, const BenchSizes& s,
                                  MatmulPrecision precision) {
  TapeCase c;
  c.op = "adaptive_embedding";
  c.name = fmt::format("({}, {}) of {} words in clusters to {}", s.unroll, s.batch_size, s.words, s.d);
  c.precision = precision;
  c.inputs = {words(s)};
  for (const Tensor& x : rows_and_projections(s)) c.inputs.push_back(x);
  c.run = [cutoffs = cutoffs_of(s.words)](const Tensors& in) {
    AdaptiveEmbeddingWeights w;
    w.cutoffs = cutoffs;
    w.rows = part(in, 1);
    w.projections = part(in, 1 + kClusters);
    return Tensors{adaptive_embedding(in[0], w, {.dtype = activation_dtype(w.rows[0])})};
  };
  for (int64_t i = 0; i < kClusters; ++i)
    c.forward.flops +=
        2 * static_cast<double>(s.tokens()) * static_cast<double>(c.inputs[1 + kClusters + i].numel());
  c.backward.flops = 2 * c.forward.flops;
  cases.push_back(tape_case(std::move(c)));
}

}  // namespace tandem
