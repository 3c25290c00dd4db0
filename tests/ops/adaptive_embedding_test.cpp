// adaptive_embedding: cases, dropout, weights tied with adaptive_softmax, bf16 and graphs on a GPU, errors.
#include "tandem/ops/adaptive_embedding.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/dispatch.h"
#include "tandem/cuda/runtime/graph.h"
#include "tandem/ops/activation.h"
#include "tandem/ops/adaptive/clusters.h"
#include "tandem/ops/adaptive_softmax.h"
#include "tandem/ops/embedding.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/reference/adaptive_embedding.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

using Weights = AdaptiveEmbeddingWeights;

struct Layout {
  const char* name;
  int64_t d, vocabulary;
  std::vector<int64_t> cutoffs, widths;  // widths: of each cluster's table, or of the one table for all
  std::vector<bool> projected;           // whether each table has a projection
};

// Returns the shapes of the tables, then of the projections.
std::vector<Shape> shapes_of(const Layout& layout) {
  std::vector<Shape> rows, projections;
  const size_t tables = layout.widths.size();
  for (size_t i = 0; i < tables; ++i) {
    const int64_t begin = i > 0 ? layout.cutoffs[i - 1] : 0;
    const int64_t end = i + 1 < tables ? layout.cutoffs[i] : layout.vocabulary;
    rows.push_back({end - begin, layout.widths[i]});
    if (layout.projected[i]) projections.push_back({layout.d, layout.widths[i]});
  }
  rows.insert(rows.end(), projections.begin(), projections.end());
  return rows;
}

Weights weights_of(const Layout& layout, const Tensors& xs, size_t first) {
  Weights w;
  w.cutoffs = layout.cutoffs;
  auto next = xs.begin() + static_cast<std::ptrdiff_t>(first);
  for (size_t i = 0; i < layout.widths.size(); ++i) w.rows.push_back(*next++);
  for (const bool projected : layout.projected) w.projections.push_back(projected ? *next++ : Tensor());
  return w;
}

Tensors random_weights(const Layout& layout, DType dtype, uint64_t seed) {
  Tensors xs;
  for (const Shape& shape : shapes_of(layout)) xs.push_back(random_tensor(shape, dtype, ++seed));
  return xs;
}

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all{{"one table", 33, 65, {5, 20}, {33}, {false}},
                                       {"one table, projected", 9, 33, {1, 3}, {5}, {true}},
                                       {"all projected", 33, 65, {7, 30}, {33, 8, 2}, {true, true, true}},
                                       {"tails projected", 16, 65, {8, 24}, {16, 4, 1}, {false, true, true}},
                                       {"of one width", 3, 9, {1, 5}, {3, 3, 3}, {false, false, true}}};
  return all;
}

void add_case(const Layout& layout, const Tensor& ids) {
  std::vector<int> weights;
  for (size_t i = 0; i < shapes_of(layout).size(); ++i) weights.push_back(static_cast<int>(i + 1));
  constexpr double kScale = 1.7;
  add_op_case({.op = "adaptive_embedding",
               .name = std::string(layout.name) + ", ids " + ids.shape().str(),
               .inputs = [layout, ids](DType dtype, uint64_t seed) -> Tensors {
                 Tensors xs{ids};
                 for (const Tensor& w : random_weights(layout, dtype, seed)) xs.push_back(w);
                 return xs;
               },
               .run = [layout](const Tensors& x) -> Tensors {
                 return {adaptive_embedding(x[0], weights_of(layout, x, 1), {.scale = kScale})};
               },
               .reference = [layout](const Tensors& x) -> Tensors {
                 return {reference::adaptive_embedding(x[0], weights_of(layout, x, 1), layout.d, kScale)};
               },
               .weights = weights});
}

SIGNATURES(adaptive_embedding) {
  add_signature(
      {.op = "adaptive_embedding",
       .function = "adaptive_embedding",
       .sizes = {6, 5, 2},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"ids", {n[0]}, DType::i32},
                 {"weights.rows", {4, n[1]}},
                 {"weights.rows", {3, n[2]}},
                 {"weights.projections", {n[1], n[1]}, DType::f32, true},
                 {"weights.projections", {n[1], n[2]}}};
       },
       .call = [](const Tensors& x, const Numbers& n) -> Tensors {
         return {adaptive_embedding(x[0], {{static_cast<int64_t>(n[0])}, {x[1], x[2]}, {x[3], x[4]}},
                                    {.dropout = n[1]})};
       },
       .numbers = {{"weights.cutoffs", 4, {-1, 0, 3, 5, 1e18}}, {"options.dropout", 0, {-1, 0.5, 1, NAN}}}});
}

OP_CASES(adaptive_embedding) {
  for (const Layout& layout : layouts()) add_case(layout, random_ids({11, 3}, layout.vocabulary, 3));
  const Layout& three = layouts()[2];  // cutoffs 7 and 30
  add_case(three, tensor_of<int32_t>({}, {64}));
  add_case(three, tensor_of<int32_t>({3}, {0, 6, 3}));
  add_case(three, tensor_of<int32_t>({6}, {0, 6, 7, 29, 30, 64}));
  add_case(three, zeros({0, 3}, DType::i32));
}

TEST_CASE("adaptive_embedding: dropout acts on the rows, with a mask of its own for each cluster") {
  const Layout& layout = layouts()[3];
  const AdaptiveEmbeddingOptions options{.dropout = 0.4, .key = {.seed = 5, .step = 6, .site = 7}};
  const Tensor ids = tensor_of<int32_t>({5}, {8, 23, 9, 9, 12});  // all in cluster 1
  const Tensor local = tensor_of<int32_t>({5}, {0, 15, 1, 1, 4});
  for (const Device device : test_devices()) {
    Tensors fused, composed;
    for (const Tensor& x : random_weights(layout, DType::f64, 3)) {
      fused.push_back(requires_grad(x.to(device).clone()));
      composed.push_back(requires_grad(x.to(device).clone()));
    }
    const Weights w = weights_of(layout, fused, 0), v = weights_of(layout, composed, 0);
    Tape tape;
    const Tensor y = adaptive_embedding(ids.to(device), w, options);
    const Tensor dy = random_tensor(y.shape(), DType::f64, 8).to(device);
    tape.backward({y}, {dy});
    Tape again;
    const Tensor rows = dropout(embedding(local.to(device), v.rows[1]), 0.4, cluster_key(options.key, 1));
    const Tensor expected = matmul(rows, v.projections[1], {.transpose_b = true});
    again.backward({expected}, {dy});
    CHECK(relative_error(y, expected) < 1e-14);
    CHECK(relative_error(grad(w.rows[1]), grad(v.rows[1])) < 1e-14);
    CHECK(relative_error(grad(w.projections[1]), grad(v.projections[1])) < 1e-14);
  }
}

TEST_CASE("adaptive_embedding: rows and projections tied with an adaptive softmax take both gradients") {
  const Layout& layout = layouts()[2];
  const Tensor ids = random_ids({9}, 65, 1), targets = random_ids({9}, 65, 2);
  const Tensor clusters = random_tensor({2, 33}, DType::f64, 9);
  const auto loss_of = [&](const Tensors& input, const Tensors& output) {
    const Weights in = weights_of(layout, input, 0), out = weights_of(layout, output, 0);
    AdaptiveSoftmaxWeights softmax;
    softmax.cutoffs = out.cutoffs;
    softmax.rows = out.rows;
    softmax.projections = out.projections;
    softmax.cluster_rows = clusters;
    return adaptive_softmax_loss(adaptive_embedding(ids, in), targets, softmax);
  };
  const auto leaves = [&] {
    Tensors xs = random_weights(layout, DType::f64, 3);
    for (const Tensor& x : xs) requires_grad(x);
    return xs;
  };
  const Tensors tied = leaves(), input = leaves(), output = leaves();
  Tape tape;
  tape.backward(loss_of(tied, tied));
  Tape again;
  again.backward(loss_of(input, output));
  for (size_t i = 0; i < tied.size(); ++i) {
    const Tensor both = grad(input[i]).clone();
    add_in_place(both, grad(output[i]));
    CHECK(relative_error(grad(tied[i]), both) < 1e-13);
  }
}

TEST_CASE("adaptive_embedding: on a GPU f32 rows give bf16, and take their gradients from it") {
  if (!has_cuda()) return;
  for (const Layout& layout : layouts()) {
    INFO(layout.name);
    const Tensors values = random_weights(layout, DType::f32, 3);
    const Tensor ids = random_ids({50}, layout.vocabulary, 4);
    const Tensor dy = random_tensor({50, layout.d}, DType::bf16, 5);
    Tensors narrow, wide;
    for (const Tensor& x : values) {
      narrow.push_back(requires_grad(x.to(Device::cuda())));
      wide.push_back(requires_grad(x.to(DType::f64)));
    }
    Tape tape;
    const Tensor y = adaptive_embedding(ids.to(Device::cuda()), weights_of(layout, narrow, 0),
                                        {.scale = 1.7, .dtype = DType::bf16});
    CHECK(y.dtype() == DType::bf16);
    tape.backward({y}, {dy.to(Device::cuda())});
    Tape again;
    const Tensor expected = adaptive_embedding(ids, weights_of(layout, wide, 0), {.scale = 1.7});
    again.backward({expected}, {dy.to(DType::f64)});
    CHECK(relative_error(y, expected) < 1e-2);
    for (size_t i = 0; i < narrow.size(); ++i) {
      CHECK(grad(narrow[i]).dtype() == DType::f32);
      CHECK(relative_error(grad(narrow[i]), grad(wide[i])) < 1e-2);
    }
  }
}

TEST_CASE("adaptive_embedding: on a GPU an id outside the vocabulary gives NaN and no gradient") {
  if (!has_cuda()) return;
  const Layout& layout = layouts()[2];
  Tensors xs;
  for (const Tensor& x : random_weights(layout, DType::f32, 3))
    xs.push_back(requires_grad(x.to(Device::cuda())));
  const Tensor ids = tensor_of<int32_t>({4}, {64, 65, -1, 0}).to(Device::cuda());
  const std::vector<float> y = adaptive_embedding(ids, weights_of(layout, xs, 0)).to_vector<float>();
  for (int64_t i = 0; i < 4 * layout.d; ++i)
    CHECK(std::isnan(y[i]) == (i / layout.d == 1 || i / layout.d == 2));
}

TEST_CASE("adaptive_embedding: a CUDA graph replays it for other ids") {
  if (!has_cuda() || allocator_mode_from_environment() == AllocatorMode::direct) return;
  if constexpr (kWithCuda) {
    const Layout& layout = layouts()[2];
    Tensors xs;
    for (const Tensor& x : random_weights(layout, DType::f32, 3))
      xs.push_back(requires_grad(x.to(Device::cuda())));
    const Weights w = weights_of(layout, xs, 0);
    const Tensor ids = zeros({6}, DType::i32, Device::cuda());
    Tensor loss;
    const auto step = [&] {
      for (const Tensor& x : xs) zero_grad(x);
      Tape tape;
      loss = mean(square(adaptive_embedding(ids, w)));
      tape.backward(loss);
    };
    cuda::Graph graph;
    graph.capture(step);
    const Tensor graph_loss = loss, graph_gradient = grad(xs[2]);
    copy(ids, tensor_of<int32_t>({6}, {0, 64, 29, 30, 7, 64}));
    graph.replay(0);
    step();
    CHECK(relative_error(graph_loss, loss) == 0);
    CHECK(relative_error(graph_gradient, grad(xs[2])) == 0);
    CHECK(loss.item() > 0);
  }
}

TEST_CASE("adaptive_embedding: errors") {
  const Layout& layout = layouts()[2];
  const Weights good = weights_of(layout, random_weights(layout, DType::f32, 3), 0);
  const Tensor ids = zeros({2}, DType::i32);
  const auto say = [&](const auto& change, const char* message) {
    Weights w = good;
    AdaptiveEmbeddingOptions options;
    change(w, options);
    CHECK(error_of([&] { adaptive_embedding(ids, w, options); }) == message);
  };
  say(
      [](Weights& w, auto&) {
        w.cutoffs = {30, 7};
      },
      "adaptive_embedding: weights.cutoffs (30, 7) must ascend, all above 0 and below the vocabulary of 42 that weights.rows give");
  say([](Weights& w, auto&) { w.projections.pop_back(); },
      "adaptive_embedding: weights.projections has 2 tensors for 3 tables in weights.rows; each takes one (undefined: none), or "
      "there are none at all");
  say([](Weights& w, auto&) { w.projections[1] = {}; },
      "adaptive_embedding: weights.rows[1] has 8 features, and weights.projections has none to the 33 of the result");
  say(
      [](Weights& w, auto&) {
        w.projections[1] = zeros({8, 33}, DType::f32);
      },
      "adaptive_embedding: weights.projections[1] is f32 (8, 33) on cpu; from rows of 8 features to 33 it must be (33, 8)");
  say([](Weights& w, auto&) { w.projections[1] = w.projections[1].to(DType::f64); },
      "adaptive_embedding: weights.projections is f64 (33, 8) on cpu, but weights.rows[0] is f32 (7, 33) on cpu; it must be f32, "
      "on the same device");
  say([](Weights&, auto& options) { options.dtype = DType::bf16; },
      "adaptive_embedding: weights.rows[0] is f32 (7, 33) on cpu; it cannot give bf16");
  say([](Weights&, auto& options) { options.dropout = 1; },
      "adaptive_embedding: options.dropout is 1; a probability of dropping must lie in [0, 1)");
  CHECK(
      error_of([&] {
        adaptive_embedding(tensor_of<int32_t>({2}, {64, 65}), good);
      }) ==
      "adaptive_embedding: ids: 65 at position (1) of (2) is outside 0..64; does the vocabulary fit the model?");
}

}  // namespace
}  // namespace tandem::testing
