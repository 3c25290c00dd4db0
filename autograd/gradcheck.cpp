// Central differences of a random projection, element by element.
#include "tandem/autograd/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "tandem/core/check.h"
#include "tandem/core/philox.h"

namespace tandem {
namespace {

// Returns weights in +-[0.5, 1.5], so that no output outweighs the others.
Tensor random_projection(const Tensor& y, uint64_t seed, uint32_t output) {
  Tensor weights(y.shape(), DType::f64);
  const std::span<double> w = weights.span<double>();
  for (size_t i = 0; i < w.size(); ++i) {
    const PhiloxBlock words = philox(seed, i, output, 0);
    w[i] = (0.5 + uniform_float(words.x)) * ((words.y & 1) ? 1 : -1);
  }
  return weights;
}

double project(const std::vector<Tensor>& outputs, const Grads& weights) {
  double sum = 0;
  for (size_t k = 0; k < outputs.size(); ++k) {
    if (!weights[k].defined()) continue;
    const auto y = outputs[k].span<double>();
    const auto w = weights[k].span<double>();
    for (size_t i = 0; i < y.size(); ++i) sum += w[i] * y[i];
  }
  return sum;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return std::memcmp(a.raw(), b.raw(), a.nbytes()) == 0;
}

// Returns a failure if f has changed one of its inputs, whose callers still need them; `pass` says when.
std::optional<GradcheckResult> changed_input(const std::vector<Tensor>& leaves,
                                             const std::vector<Tensor>& inputs, const char* pass) {
  for (size_t k = 0; k < inputs.size(); ++k) {
    if (!inputs[k].defined() || inputs[k].numel() == 0 || same_bytes(leaves[k], inputs[k])) continue;
    return GradcheckResult{
        false, std::numeric_limits<double>::infinity(),
        fmt::format("input {}, {}, was changed by the {} pass", k, inputs[k].summary(), pass)};
  }
  return std::nullopt;
}

}  // namespace

GradcheckResult gradcheck(const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& f,
                          const std::vector<Tensor>& inputs, const GradcheckOptions& options) {
  std::vector<Tensor> leaves;  // clones: the caller's tensors are neither marked nor changed
  bool any = false;
  for (const Tensor& x : inputs) {
    leaves.push_back(x.defined() ? x.clone() : x);
    if (!x.defined() || x.dtype() != DType::f64) continue;
    requires_grad(leaves.back());
    any = true;
  }
  TANDEM_CHECK(any, "gradcheck: none of the {} inputs is f64; central differences need f64", inputs.size());

  Grads weights;
  {
    Tape tape;
    const std::vector<Tensor> outputs = f(leaves);
    if (const auto failure = changed_input(leaves, inputs, "forward")) return *failure;
    std::vector<Tensor> roots;
    Grads root_grads;
    for (size_t k = 0; k < outputs.size(); ++k) {
      const bool checked = outputs[k].defined() && outputs[k].dtype() == DType::f64;
      weights.push_back(checked ? random_projection(outputs[k], options.seed, static_cast<uint32_t>(k))
                                : Tensor());
      if (!checked || !needs_grad(outputs[k])) continue;
      roots.push_back(outputs[k]);
      root_grads.push_back(weights.back());
    }
    TANDEM_CHECK(!roots.empty(), "gradcheck: no f64 output of the {} was recorded on the tape",
                 outputs.size());
    tape.backward(roots, root_grads);
    if (const auto failure = changed_input(leaves, inputs, "backward")) return *failure;
  }

  GradcheckResult result;
  NoGrad pause;
  for (size_t k = 0; k < leaves.size(); ++k) {
    const Tensor& x = leaves[k];
    if (!needs_grad(x)) continue;
    const std::span<double> values = x.span<double>();
    const Tensor gradient = grad(x);
    const int64_t n = x.numel();
    const int64_t count = options.max_elements > 0 ? std::min(n, options.max_elements) : n;
    for (int64_t c = 0; c < count; ++c) {
      const int64_t i = c * n / count;
      const double kept = values[i];
      const double h = options.step * std::max(1.0, std::abs(kept));
      values[i] = kept + h;
      const double above = project(f(leaves), weights);
      values[i] = kept - h;
      const double below = project(f(leaves), weights);
      values[i] = kept;
      const double numeric = (above - below) / (2 * h);
      const double analytic = gradient.defined() ? gradient.span<double>()[i] : 0.0;
      const double error = std::abs(analytic - numeric) / std::max(1.0, std::abs(numeric));
      if (!(error <= result.max_error)) {  // a NaN counts as the largest
        result.max_error = error;
        result.message =
            fmt::format("input {}, {}, element {}: backward says {:.10g}, differences say {:.10g}", k,
                        x.summary(), i, analytic, numeric);
        if (std::isnan(error)) {
          result.ok = false;
          return result;
        }
      }
    }
  }
  result.ok = result.max_error <= options.tolerance;
  return result;
}

}  // namespace tandem
