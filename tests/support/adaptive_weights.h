// Weights of adaptive softmaxes, in all their forms, for the tests of ops/adaptive_softmax.
#pragma once
#include "tandem/autograd/leaf.h"
#include "tandem/ops/adaptive_softmax.h"
#include "tests/support/op_cases.h"

namespace tandem::testing {

// Which weights there are, and of which sizes.
struct Layout {
  const char* name;
  int64_t d, vocabulary;
  std::vector<int64_t> cutoffs, widths;  // widths: one for each cluster, or one of a table for all
  bool biases, head_projection, tail_projections, reversed;
};

inline std::vector<Shape> shapes_of(const Layout& layout) {
  std::vector<int64_t> ends = layout.cutoffs;
  ends.push_back(layout.vocabulary);
  const auto clusters = static_cast<int64_t>(ends.size());
  const bool one_table = layout.widths.size() == 1;
  std::vector<Shape> rows, biases, projections;
  for (int64_t i = 0; i < clusters; ++i) {
    const int64_t count = one_table ? layout.vocabulary : ends[i] - (i > 0 ? ends[i - 1] : 0);
    const int64_t width = layout.widths[one_table ? 0 : i];
    if (i == 0 || !one_table) rows.push_back({count, width}), biases.push_back({count});
    if (i == 0 ? layout.head_projection : layout.tail_projections) projections.push_back({layout.d, width});
  }
  std::vector<Shape> all = rows;
  if (layout.biases) all.insert(all.end(), biases.begin(), biases.end());
  all.insert(all.end(), projections.begin(), projections.end());
  if (clusters > 1) all.push_back({clusters - 1, layout.widths[0]});
  if (clusters > 1 && layout.biases) all.push_back({clusters - 1});
  return all;
}

// The tensors from xs[first] on, in the order of shapes_of().
inline AdaptiveSoftmaxWeights weights_of(const Layout& layout, const Tensors& xs, size_t first) {
  const size_t clusters = layout.cutoffs.size() + 1, tables = layout.widths.size();
  AdaptiveSoftmaxWeights w;
  w.cutoffs = layout.cutoffs;
  w.reversed_clusters = layout.reversed;
  auto next = xs.begin() + static_cast<std::ptrdiff_t>(first);
  for (size_t i = 0; i < tables; ++i) w.rows.push_back(*next++);
  for (size_t i = 0; layout.biases && i < tables; ++i) w.biases.push_back(*next++);
  if (layout.head_projection || layout.tail_projections)
    for (size_t i = 0; i < clusters; ++i)
      w.projections.push_back((i == 0 ? layout.head_projection : layout.tail_projections) ? *next++
                                                                                          : Tensor());
  if (clusters > 1) w.cluster_rows = *next++;
  if (clusters > 1 && layout.biases) w.cluster_bias = *next++;
  return w;
}

inline Tensors random_weights(const Layout& layout, DType dtype, uint64_t seed) {
  Tensors xs;
  for (const Shape& shape : shapes_of(layout)) xs.push_back(random_tensor(shape, dtype, ++seed));
  return xs;
}

inline const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all{
      {"one softmax", 3, 33, {}, {3}, true, false, false, false},
      {"one table, reversed clusters", 33, 65, {5, 20, 40}, {33}, true, false, false, true},
      {"one table of fewer features", 9, 33, {1, 3}, {5}, false, true, true, true},
      {"all projected", 33, 65, {7, 30}, {33, 8, 2}, true, true, true, true},
      {"tails projected, no biases", 16, 65, {8, 24}, {16, 4, 1}, false, false, true, false}};
  return all;
}

inline Tensors all_of(const AdaptiveSoftmaxWeights& w) {
  Tensors all;
  for (const auto* list : {&w.rows, &w.biases, &w.projections})
    all.insert(all.end(), list->begin(), list->end());
  all.push_back(w.cluster_rows);
  all.push_back(w.cluster_bias);
  return all;
}

inline AdaptiveSoftmaxWeights leaves_of(AdaptiveSoftmaxWeights w, Device device) {
  const auto leaf = [device](Tensor& x) {
    if (x.defined()) x = requires_grad(x.to(device).clone());
  };
  for (auto* list : {&w.rows, &w.biases, &w.projections})
    for (Tensor& x : *list) leaf(x);
  leaf(w.cluster_rows);
  leaf(w.cluster_bias);
  return w;
}

}  // namespace tandem::testing
