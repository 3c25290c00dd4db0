// adaptive_softmax and adaptive_embedding against golden numbers of PyTorch and Transformer-XL.
#include <doctest/doctest.h>

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/ops/adaptive_embedding.h"
#include "tandem/ops/reduce.h"
#include "tests/support/adaptive_weights.h"
#include "tests/support/devices.h"
#include "tests/support/golden.h"

namespace tandem::testing {
namespace {

using Weights = AdaptiveSoftmaxWeights;

Tensor transposed(const Tensor& x) {
  const int64_t rows = x.size(0), columns = x.size(1);
  const double* in = x.data<double>();
  return tensor_from({columns, rows},
                     [in, rows, columns](int64_t i) { return in[i % rows * columns + i / rows]; });
}

// Returns the weights of a golden case, or their gradients, in the layout of AdaptiveSoftmaxWeights.
Weights golden_weights(const std::string& name, const std::string& file) {
  const std::string prefix = "adaptive_softmax/";
  const auto get = [&](const std::string& what) { return golden(prefix + file, name + "." + what); };
  Weights w;
  w.cutoffs = {20, 60};
  if (name.starts_with("torch")) {  // (out, in) matrices; the head's holds its table and the cluster weights
    const Tensor head = get("head.weight");
    w.rows = {head.view_rows(0, 20).clone(), get("tail.0.1.weight"), get("tail.1.1.weight")};
    w.cluster_rows = head.view_rows(20, 22).clone();
    w.projections = {{}, transposed(get("tail.0.0.weight")), transposed(get("tail.1.0.weight"))};
    if (name == "torch_head_bias_false") return w;
    const Tensor bias = get("head.bias");
    w.biases = {bias.view_rows(0, 20).clone(), {}, {}};
    w.cluster_bias = bias.view_rows(20, 22).clone();
    return w;
  }
  for (int i = 0; i < (name == "projected_div1" ? 1 : 3); ++i) {
    w.rows.push_back(get("out_layers." + std::to_string(i) + ".weight"));
    w.biases.push_back(get("out_layers." + std::to_string(i) + ".bias"));
    if (name == "projected_div4") w.projections.push_back(get("out_projs." + std::to_string(i)));
  }
  w.cluster_rows = get("cluster_weight");
  w.cluster_bias = get("cluster_bias");
  w.reversed_clusters = true;
  return w;
}

// Checks the gradients of the leaves of w.
void check_gradients(const Weights& w, const Tensors& expected, double tolerance) {
  const Tensors leaves = all_of(w);
  REQUIRE(leaves.size() == expected.size());
  for (size_t i = 0; i < leaves.size(); ++i) {
    INFO("weight ", i, ": ", leaves[i].summary());
    REQUIRE(leaves[i].defined() == expected[i].defined());
    if (leaves[i].defined()) CHECK(relative_error(grad(leaves[i]), expected[i]) <= tolerance);
  }
}

TEST_CASE("adaptive_softmax: the golden numbers of PyTorch and Transformer-XL") {
  for (const Device device : test_devices())
    for (const std::string name :
         {"torch_head_bias_false", "torch_head_bias_true", "projected_div4", "projected_div1"}) {
      INFO(name, " on ", device.str());
      const Tensor targets = golden("adaptive_softmax/inputs", name + ".target").to(device);
      const Tensor expected = golden("adaptive_softmax/outputs", name + ".nll");
      double mean_nll = 0;
      for (const double value : expected.span<double>()) mean_nll += value / 60;
      for (const bool in_forward : {true, false}) {
        const Tensor hidden =
            requires_grad(golden("adaptive_softmax/inputs", name + ".hidden").to(device).clone());
        const Weights w = leaves_of(golden_weights(name, "weights"), device);
        Tape tape;
        const Tensor nll = adaptive_softmax_nll(hidden, targets, w);
        CHECK(relative_error(nll, expected) <= 1e-9);
        const Tensor loss = in_forward ? adaptive_softmax_loss(hidden, targets, w) : mean(nll);
        CHECK(std::abs(loss.item() / mean_nll - 1) <= 1e-9);
        tape.backward(loss);
        CHECK(relative_error(grad(hidden), golden("adaptive_softmax/grads", name + ".hidden")) <= 1e-9);
        check_gradients(w, all_of(golden_weights(name, "grads")), 1e-9);
        CHECK(relative_error(adaptive_log_probabilities(hidden.view_rows(0, 6), w),
                             golden("adaptive_softmax/outputs", name + ".log_prob_first_rows")) <= 1e-9);
      }
    }
}

TEST_CASE("adaptive_embedding: the golden numbers of Transformer-XL") {
  for (const Device device : test_devices())
    for (const std::string name : {"embedding_div4", "embedding_div1_projected"}) {
      INFO(name, " on ", device.str());
      const auto get = [&name](const char* file, const std::string& what) {
        return golden(std::string("adaptive_softmax/") + file, name + "." + what);
      };
      AdaptiveEmbeddingWeights w;
      w.cutoffs = {20, 60};
      const int tables = name == "embedding_div4" ? 3 : 1;
      const auto row_name = [](int i) { return "emb_layers." + std::to_string(i) + ".weight"; };
      const auto projection_name = [](int i) { return "emb_projs." + std::to_string(i); };
      for (int i = 0; i < tables; ++i) {
        w.rows.push_back(requires_grad(get("weights", row_name(i)).to(device).clone()));
        w.projections.push_back(requires_grad(get("weights", projection_name(i)).to(device).clone()));
      }
      Tape tape;
      const Tensor y = adaptive_embedding(get("inputs", "ids").to(device), w, {.scale = std::sqrt(32.0)});
      CHECK(relative_error(y, get("outputs", "embedding")) <= 1e-9);
      tape.backward({y}, {get("inputs", "dout").to(device)});
      for (int i = 0; i < tables; ++i) {
        CHECK(relative_error(grad(w.rows[i]), get("grads", row_name(i))) <= 1e-9);
        CHECK(relative_error(grad(w.projections[i]), get("grads", projection_name(i))) <= 1e-9);
      }
    }
}

}  // namespace
}  // namespace tandem::testing
