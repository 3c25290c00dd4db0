// adaptive_softmax: cases, blocks, memory, tied weights, dropout, the full softmax, errors.
#include "tandem/ops/adaptive_softmax.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/host_memory.h"
#include "tandem/cuda/runtime/graph.h"
#include "tandem/ops/adaptive/clusters.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/concat.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/reference/adaptive_softmax.h"
#include "tandem/ops/reference/reduce.h"
#include "tests/support/adaptive_weights.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/signatures.h"
#include "tests/support/threads.h"

namespace tandem::testing {
namespace {

using Weights = AdaptiveSoftmaxWeights;

Shape with_last(const Shape& shape, int64_t size) {
  std::vector<int64_t> sizes(shape.begin(), shape.end());
  sizes.push_back(size);
  return Shape(std::span<const int64_t>(sizes));
}

void add_case(const Layout& layout, const std::string& which, const Tensor& targets, int64_t logits_at_once) {
  std::vector<int> weights;
  for (size_t i = 0; i < shapes_of(layout).size(); ++i) weights.push_back(static_cast<int>(i + 2));
  add_op_case(
      {.op = "adaptive_softmax",
       .name = std::string(layout.name) + ", " + which,
       .inputs = [layout, targets](DType dtype, uint64_t seed) -> Tensors {
         Tensors xs{random_tensor(with_last(targets.shape(), layout.d), dtype, seed), targets};
         for (const Tensor& w : random_weights(layout, dtype, seed)) xs.push_back(w);
         return xs;
       },
       .run = [layout, logits_at_once](const Tensors& x) -> Tensors {
         const Weights w = weights_of(layout, x, 2);
         AdaptiveSoftmaxOptions options;
         options.logits_at_once = logits_at_once;
         return {adaptive_softmax_nll(x[0], x[1], w, options), adaptive_softmax_loss(x[0], x[1], w, options)};
       },
       .reference = [layout](const Tensors& x) -> Tensors {
         const Tensor nll = reference::adaptive_softmax_nll(x[0], x[1], weights_of(layout, x, 2));
         return {nll, full({}, reference::sum(nll) / static_cast<double>(nll.numel()), DType::f64)};
       },
       .weights = weights});
}

// The tensors of two clusters, with sizes {tokens, d, d_1}.
TensorArguments weight_arguments(const Sizes& n) {
  return {{"weights.rows", {4, n[1]}},
          {"weights.rows", {3, n[2]}},
          {"weights.biases", {4}, DType::f32, true},
          {"weights.biases", {3}, DType::f32, true},
          {"weights.projections", {n[1], n[1]}, DType::f32, true},
          {"weights.projections", {n[1], n[2]}},
          {"weights.cluster_rows", {1, n[1]}},
          {"weights.cluster_bias", {1}, DType::f32, true}};
}
// Returns the weights made of these tensors, which x holds from `first` on.
Weights weights_from(const Tensors& x, size_t first, double cutoff) {
  const Tensor* const w = &x[first];
  return {{static_cast<int64_t>(cutoff)}, {w[0], w[1]}, {w[2], w[3]}, {w[4], w[5]}, w[6], w[7]};
}
NumberArgument cutoffs() {
  return {"weights.cutoffs", 4, {-1, 0, 3, 5, 1e18}};
}

// Adds a row for one of the functions of (hidden, targets, weights, options).
void add_loss_signature(const char* function, Tensor (*f)(const Tensor&, const Tensor&, const Weights&,
                                                          const AdaptiveSoftmaxOptions&)) {
  add_signature({.op = "adaptive_softmax",
                 .function = function,
                 .sizes = {6, 5, 2},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   TensorArguments all{{"hidden", {n[0], n[1]}}, {"targets", {n[0]}, DType::i32}};
                   const TensorArguments weights = weight_arguments(n);
                   all.insert(all.end(), weights.begin(), weights.end());
                   return all;
                 },
                 .call = [f](const Tensors& x, const Numbers& n) -> Tensors {
                   return {f(x[0], x[1], weights_from(x, 2, n[0]),
                             {.dropout = n[1], .logits_at_once = static_cast<int64_t>(n[2])})};
                 },
                 .numbers = {cutoffs(),
                             {"options.dropout", 0, {-1, 0.5, 1, NAN}},
                             {"options.logits_at_once", 100, {0, -1, 1}}}});
}

SIGNATURES(adaptive_softmax) {
  add_loss_signature("adaptive_softmax_nll", adaptive_softmax_nll);
  add_loss_signature("adaptive_softmax_loss", adaptive_softmax_loss);
  add_signature({.op = "adaptive_softmax",
                 .function = "adaptive_log_probabilities",
                 .sizes = {6, 5, 2},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   TensorArguments all{{"hidden", {n[0], n[1]}}};
                   const TensorArguments weights = weight_arguments(n);
                   all.insert(all.end(), weights.begin(), weights.end());
                   return all;
                 },
                 .call = [](const Tensors& x, const Numbers& n) -> Tensors {
                   return {adaptive_log_probabilities(x[0], weights_from(x, 1, n[0]))};
                 },
                 .numbers = {cutoffs()}});
}

OP_CASES(adaptive_softmax) {
  for (const Layout& layout : layouts()) {
    add_case(layout, "tokens of all clusters", random_ids({11, 3}, layout.vocabulary, 3), int64_t{1} << 25);
    add_case(layout, "blocks of a few tokens", random_ids({13}, layout.vocabulary, 4), 200);
  }
  const Layout& three = layouts()[3];  // cutoffs 7 and 30
  add_case(three, "one token", tensor_of<int32_t>({}, {64}), 1 << 10);
  add_case(three, "all of the head", tensor_of<int32_t>({3}, {0, 6, 3}), 1 << 10);
  add_case(three, "all of the last cluster", tensor_of<int32_t>({3}, {30, 64, 40}), 1 << 10);
  add_case(three, "the ends of the clusters", tensor_of<int32_t>({6}, {0, 6, 7, 29, 30, 64}), 1 << 10);
  add_case(layouts()[1], "empty clusters", tensor_of<int32_t>({3}, {4, 20, 39}), 1 << 10);
}

TEST_CASE("adaptive_softmax: probabilities add up to 1, and are those of the losses") {
  for (const Device device : test_devices())
    for (const Layout& layout : layouts()) {
      INFO(layout.name, " on ", device.str());
      const Tensor hidden = random_tensor({5, 3, layout.d}, DType::f64, 1);
      const Tensor targets = random_ids({5, 3}, layout.vocabulary, 2);
      const Tensors values = random_weights(layout, DType::f64, 3);
      Tensors moved;
      for (const Tensor& x : values) moved.push_back(x.to(device));
      const Weights w = weights_of(layout, moved, 0);
      const Tensor log_p = adaptive_log_probabilities(hidden.to(device), w);
      CHECK(log_p.shape() == Shape{5, 3, layout.vocabulary});
      const std::vector<double> p = log_p.to_vector<double>();
      for (int64_t t = 0; t < 15; ++t) {
        double total = 0;
        for (int64_t id = 0; id < layout.vocabulary; ++id) total += std::exp(p[t * layout.vocabulary + id]);
        CHECK(std::abs(total - 1) < 1e-12);
      }
      // Log-probabilities are also logits of the full softmax.
      CHECK(relative_error(adaptive_softmax_nll(hidden.to(device), targets.to(device), w),
                           token_nll(log_p, targets.to(device))) < 1e-12);
    }
}

TEST_CASE("adaptive_softmax: a gradient given to the loss scales all that forward computed") {
  const Layout& layout = layouts()[3];
  const Tensor targets = random_ids({9}, layout.vocabulary, 2);
  const auto gradients = [&](bool in_forward) {
    const Tensor hidden = requires_grad(random_tensor({9, layout.d}, DType::f64, 1));
    const Weights w = leaves_of(weights_of(layout, random_weights(layout, DType::f64, 3), 0), Device::cpu());
    for (int pass = 0; pass < 2; ++pass) {
      Tape tape;
      tape.backward((in_forward ? adaptive_softmax_loss(hidden, targets, w)
                                : mean(adaptive_softmax_nll(hidden, targets, w))) *
                    -3.0);
      if (pass == 0) zero_grad(w.rows[1]);  // this gradient starts anew, the others are added to
    }
    Tensors all{grad(hidden)};
    for (const Tensor& x : all_of(w)) all.push_back(grad(x));
    return all;
  };
  const Tensors now = gradients(true), later = gradients(false);
  for (size_t i = 0; i < now.size(); ++i) CHECK(relative_error(now[i], later[i]) < 1e-13);
}

// Returns the peak of the bytes that f allocates.
template <class F>
size_t peak_of(const F& f) {
  host_allocator().reset_peak();
  const size_t before = host_allocator().statistics().in_use;
  f();
  return host_allocator().statistics().peak_in_use - before;
}

TEST_CASE("adaptive_softmax: the peak of memory is one block of logits and one set of gradients" *
          doctest::test_suite("slow when emulated")) {
  constexpr int64_t kTokens = 256, kVocabulary = 40'000, kWidth = 16;
  const Tensor hidden = random_tensor({kTokens, kWidth}, DType::f32, 1);
  const Tensor targets = random_ids({kTokens}, kVocabulary, 2);
  Weights w;
  w.rows = {requires_grad(random_tensor({kVocabulary, kWidth}, DType::f32, 3))};
  AdaptiveSoftmaxOptions options;
  options.logits_at_once = 16 * kVocabulary;
  const Threads one(1);
  const size_t block = 4 * options.logits_at_once, gradients = w.rows[0].nbytes();
  const size_t little = 600'000;  // scratch memory of a product, and the numbers of each token
  for (const bool in_forward : {false, true}) {
    Tape tape;
    Tensor loss;
    const size_t forward = peak_of([&] {
      loss = in_forward ? adaptive_softmax_loss(hidden, targets, w, options)
                        : mean(adaptive_softmax_nll(hidden, targets, w, options));
    });
    const size_t backward = peak_of([&] { tape.backward(loss); });
    CHECK(forward < block + (in_forward ? gradients : 0) + little);
    CHECK(backward < (in_forward ? 0 : block + gradients) + little);
    zero_grad(w.rows[0]);
  }
}

TEST_CASE("adaptive_softmax: one projection for all clusters takes the sum of its gradients") {
  const Layout& layout = layouts()[2];
  const Tensor hidden = random_tensor({9, layout.d}, DType::f64, 1), targets = random_ids({9}, 33, 2);
  for (const auto loss_of : {adaptive_softmax_nll, adaptive_softmax_loss}) {
    Weights apart = weights_of(layout, random_weights(layout, DType::f64, 3), 0);
    const Tensor shared = apart.projections[0];
    apart.projections = {shared, shared, shared};
    Weights tied = leaves_of(apart, Device::cpu());
    tied.projections = {tied.projections[0], tied.projections[0], tied.projections[0]};
    apart = leaves_of(apart, Device::cpu());
    for (const Weights& w : {tied, apart})
      for (int pass = 0; pass < 2; ++pass) {
        Tape tape;
        tape.backward(sum(loss_of(hidden, targets, w, {})));
      }
    const Tensor total = grad(apart.projections[0]).clone();
    add_in_place(total, grad(apart.projections[1]));
    add_in_place(total, grad(apart.projections[2]));
    CHECK(relative_error(grad(tied.projections[0]), total) < 1e-13);
  }
}

TEST_CASE(
    "adaptive_softmax: dropout acts on the projected features, with a mask of its own for each cluster") {
  const Layout& layout = layouts()[3];
  const Tensor targets = tensor_of<int32_t>({4}, {7, 29, 8, 12});  // all in cluster 1
  const Tensor local = tensor_of<int32_t>({4}, {0, 22, 1, 5}), column = full({4}, 7 + 1, DType::i32);
  const AdaptiveSoftmaxOptions options{.dropout = 0.4, .key = {.seed = 5, .step = 6, .site = 7}};
  for (const Device device : test_devices()) {
    const Tensor hidden = random_tensor({4, layout.d}, DType::f64, 1).to(device);
    const auto leaves = [&] {
      return leaves_of(weights_of(layout, random_weights(layout, DType::f64, 3), 0), device);
    };
    const Weights fused = leaves(), composed = leaves();
    const Tensor x = requires_grad(hidden.clone()), y = requires_grad(hidden.clone());
    Tape tape;
    const Tensor loss = adaptive_softmax_loss(x, targets.to(device), fused, options);
    const Tensor nll = adaptive_softmax_nll(x, targets.to(device), fused, options);
    tape.backward(loss + mean(nll));

    Tape again;
    const auto part = [&](int i, const Tensor& rows, const Tensor& bias, const Tensor& ids) {
      const Tensor z = dropout(matmul(y, composed.projections[i]), 0.4, cluster_key(options.key, i));
      return mean(token_nll(linear(z, rows, bias), ids.to(device)));
    };
    Tensors head_rows{composed.rows[0], composed.cluster_rows};
    const Tensor expected =
        part(0, concat(head_rows), concat({composed.biases[0], composed.cluster_bias}), column) +
        part(1, composed.rows[1], composed.biases[1], local);
    again.backward(expected * 2.0);
    CHECK(std::abs(loss.item() / expected.item() - 1) < 1e-12);
    CHECK(relative_error(grad(x), grad(y)) < 1e-12);
    for (const int i : {0, 1}) {
      CHECK(relative_error(grad(fused.projections[i]), grad(composed.projections[i])) < 1e-12);
      CHECK(relative_error(grad(fused.rows[i]), grad(composed.rows[i])) < 1e-12);
    }
    CHECK(relative_error(grad(fused.rows[2]), zeros_like(fused.rows[2])) == 0);  // no token of cluster 2
  }
}

TEST_CASE("adaptive_softmax: no tokens have an empty result, and no mean") {
  const Layout& layout = layouts()[3];
  for (const Device device : test_devices()) {
    const Weights w = leaves_of(weights_of(layout, random_weights(layout, DType::f32, 3), 0), device);
    const Tensor hidden = zeros({0, layout.d}, DType::f32, device), targets = zeros({0}, DType::i32, device);
    Tape tape;
    const Tensor nll = adaptive_softmax_nll(hidden, targets, w);
    CHECK(nll.shape() == Shape{0});
    tape.backward({nll}, {nll.clone()});
    for (const Tensor& x : all_of(w)) CHECK(relative_error(grad(x), zeros_like(x)) == 0);
    CHECK(contains(
        error_of([&] { adaptive_softmax_loss(hidden, targets, w); }),
        "adaptive_softmax_loss: targets are i32 (0) on " + device.str() + ": the mean over no tokens"));
  }
}

TEST_CASE("adaptive_softmax: a CUDA graph cannot hold it, and says why") {
  if (!has_cuda() || allocator_mode_from_environment() == AllocatorMode::direct) return;
  if constexpr (kWithCuda) {
    const Layout& layout = layouts()[0];
    const Weights w = leaves_of(weights_of(layout, random_weights(layout, DType::f32, 3), 0), Device::cuda());
    const Tensor hidden = zeros({4, layout.d}, DType::f32, Device::cuda()),
                 targets = zeros({4}, DType::i32, Device::cuda());
    cuda::Graph graph;
    CHECK(error_of([&] { graph.capture([&] { adaptive_softmax_loss(hidden, targets, w); }); }) ==
          "adaptive_softmax waits for the numbers of tokens in its clusters, which a CUDA graph cannot hold");
    CHECK(adaptive_softmax_loss(hidden, targets, w).item() > 0);  // the failed capture leaves no trace
  }
}

TEST_CASE("adaptive_softmax: errors") {
  const Layout& layout = layouts()[3];
  const Tensor hidden = zeros({2, 33}, DType::f32), targets = zeros({2}, DType::i32);
  const Weights good = weights_of(layout, random_weights(layout, DType::f32, 3), 0);
  const auto error_with = [&](const auto& change) {
    Weights w = good;
    change(w);
    return error_of([&] { adaptive_softmax_nll(hidden, targets, w); });
  };
  const auto say = [&](const auto& change, const char* message) { CHECK(error_with(change) == message); };
  say([](Weights& w) { w.cutoffs = {7}; },
      "adaptive_softmax_nll: weights.rows has 3 tables; weights.cutoffs (7) make 2 clusters, which take one each, or one table for all");
  say(
      [](Weights& w) {
        w.cutoffs = {30, 7};
      },
      "adaptive_softmax_nll: weights.cutoffs (30, 7) must ascend, all above 0 and below the vocabulary of 42 that weights.rows "
      "give");
  say(
      [](Weights& w) {
        w.cutoffs = {0, 30};
      },
      "adaptive_softmax_nll: weights.cutoffs (0, 30) must ascend, all above 0 and below the vocabulary of 65 that weights.rows "
      "give");
  say(
      [](Weights& w) {
        w.rows = {zeros({30, 33}, DType::f32)};
      },
      "adaptive_softmax_nll: weights.cutoffs (7, 30) must ascend, all above 0 and below the vocabulary of 30 that weights.rows "
      "give");
  say(
      [](Weights& w) {
        w.cutoffs = {8, 30};
      },
      "adaptive_softmax_nll: weights.rows[0] is (7, 33); by weights.cutoffs (8, 30) the cluster has 8 ids");
  say([](Weights& w) { w.rows[1] = zeros({23}, DType::f32); },
      "adaptive_softmax_nll: weights.rows[1] is f32 (23) on cpu; it must be a floating matrix, a row for each id");
  say([](Weights& w) { w.projections.pop_back(); },
      "adaptive_softmax_nll: weights.projections has 2 tensors; 3 clusters take one each (undefined: none), or there are none at all");
  say([](Weights& w) { w.projections[1] = {}; },
      "adaptive_softmax_nll: weights.rows of cluster 1 have 8 features, and weights.projections has none to them from hidden's "
      "33");
  say(
      [](Weights& w) {
        w.projections[1] = zeros({8, 33}, DType::f32);
      },
      "adaptive_softmax_nll: weights.projections[1] is f32 (8, 33) on cpu; from hidden "
      "(..., 33) to rows of 8 features it must be (33, 8)");
  say([](Weights& w) { w.biases.pop_back(); },
      "adaptive_softmax_nll: weights.biases has 2 tensors for 3 tables in weights.rows; each takes one (undefined: none), or "
      "there are none at all");
  say([](Weights& w) { w.biases[2] = zeros({34}, DType::f32); },
      "adaptive_softmax_nll: weights.biases[2] is f32 (34) on cpu; with rows (35, 2) it must be (35)");
  say(
      [](Weights& w) {
        w.cluster_rows = zeros({3, 33}, DType::f32);
      },
      "adaptive_softmax_nll: weights.cluster_rows is (3, 33); 2 cutoffs and rows (7, 33) want (2, 33)");
  say([](Weights& w) { w.cluster_rows = {}; },
      "adaptive_softmax_nll: weights.cluster_rows is undefined; 2 cutoffs and rows (7, 33) want (2, 33)");
  say([](Weights& w) { w.cluster_bias = zeros({3}, DType::f32); },
      "adaptive_softmax_nll: weights.cluster_bias is (3); there are 2 tails");
  say([](Weights& w) { w.rows[2] = w.rows[2].to(DType::f64); },
      "adaptive_softmax_nll: weights.rows is f64 (35, 2) on cpu, but hidden is f32 (2, 33) on cpu; it must be f32, on the same "
      "device");
  CHECK(
      error_of([&] { adaptive_softmax_loss(hidden, zeros({3}, DType::i32), good); }) ==
      "adaptive_softmax_loss: hidden is f32 (2, 33) on cpu, targets i32 (3) on cpu; targets must have hidden's "
      "leading sizes (2) and device");
  CHECK(error_of([&] { adaptive_log_probabilities(targets, good); }) ==
        "adaptive_log_probabilities: hidden is i32 (2) on cpu; its dtype must be f32 or f64 on the CPU");
  CHECK(
      error_of([&] { adaptive_softmax_nll(hidden, targets, good, {.dropout = 1}); }) ==
      "adaptive_softmax_nll: options.dropout 1 must be in [0, 1), and options.logits_at_once 33554432 more than none");
  for (const Device device : test_devices()) {
    Weights moved = leaves_of(good, device);
    CHECK(
        error_of([&] {
          adaptive_softmax_nll(hidden.to(device), tensor_of<int32_t>({2}, {64, 65}).to(device), moved);
        }) ==
        "adaptive_softmax_nll: targets: 65 at position (1) of (2) is outside 0..64; does the vocabulary fit the model?");
  }
}

}  // namespace
}  // namespace tandem::testing
