// adaptive_softmax with large logits: what is subtracted is subtracted before digits are lost.
#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/ops/adaptive/parts.h"
#include "tandem/ops/adaptive_softmax.h"
#include "tandem/ops/reduce.h"
#include "tests/support/adaptive_weights.h"
#include "tests/support/devices.h"

namespace tandem::testing {
namespace {

using Weights = AdaptiveSoftmaxWeights;

// Returns the tensors with whole numbers from -2 to 2, so that sums with a large offset are exact in f32.
Tensors whole_numbers(const std::vector<Shape>& shapes) {
  Tensors all;
  for (const Shape& shape : shapes) {
    const int64_t seed = static_cast<int64_t>(all.size()) + 1;
    all.push_back(tensor_from(
        shape, [seed](int64_t i) { return static_cast<double>((i * i * 7 + seed * i) % 5 - 2); }));
  }
  return all;
}

TEST_CASE(
    "adaptive_softmax: an offset of all logits changes neither losses, gradients nor probabilities, however large") {
  for (const int index : {0, 1, 3}) {  // those with biases, which carry the offset
    const Layout& layout = layouts()[static_cast<size_t>(index)];
    const Tensor targets = random_ids({9}, layout.vocabulary, 2);
    const Tensor values = whole_numbers({{9, layout.d}})[0];
    const auto results = [&](double offset, DType dtype, Device device) {
      Weights w = weights_of(layout, whole_numbers(shapes_of(layout)), 0);
      const auto shift = [offset](Tensor& x) {
        const double* in = x.data<double>();
        x = tensor_from(x.shape(), [in, offset](int64_t i) { return in[i] + offset; });
      };
      for (Tensor& x : w.biases) shift(x);
      if (w.cluster_bias.defined()) shift(w.cluster_bias);
      w = leaves_of(transformed(w, [dtype](const Tensor& x) { return x.defined() ? x.to(dtype) : x; }),
                    device);
      const Tensor hidden = requires_grad(values.to(dtype).to(device)), ids = targets.to(device);
      Tensors all{adaptive_log_probabilities(hidden, w)};
      for (const bool by_token : {false, true}) {
        for (const Tensor& x : all_of(w))
          if (x.defined()) zero_grad(x);
        zero_grad(hidden);
        Tape tape;
        const Tensor loss =
            by_token ? mean(adaptive_softmax_nll(hidden, ids, w)) : adaptive_softmax_loss(hidden, ids, w);
        tape.backward(loss);
        all.push_back(loss.detach());
        all.push_back(grad(hidden));
        for (const Tensor& x : all_of(w))
          if (x.defined()) all.push_back(grad(x));
      }
      return all;
    };
    const Tensors expected = results(0, DType::f64, Device::cpu());
    for (const Device device : test_devices())
      for (const double offset : {0.0, 1e3, -1e6, 1e7, -1e7, 1.6e7}) {
        const Tensors found = results(offset, DType::f32, device);
        REQUIRE(found.size() == expected.size());
        for (size_t i = 0; i < found.size(); ++i) {
          INFO(layout.name, ", offset ", offset, " on ", device.str(), ", result ", i);
          CHECK(relative_error(found[i], expected[i]) < 2e-6);
        }
      }
  }
}

}  // namespace
}  // namespace tandem::testing
