// Pruning by a threshold on magnitudes, and rounding to codes.
#include "tandem/models/training/compression.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tandem/core/array.h"
#include "tandem/core/check.h"

namespace tandem {
namespace {

// The weights to prune: those with a magnitude below `threshold`, and the first `ties` whose magnitude equals it.
struct Cut {
  float threshold = 0;
  int64_t ties = 0;
};

Cut cut_for(std::vector<float> magnitudes, double sparsity) {
  const auto count = std::llround(sparsity * static_cast<double>(magnitudes.size()));
  if (count == 0) return {};
  const auto last = magnitudes.begin() + count - 1;
  std::nth_element(magnitudes.begin(), last, magnitudes.end());
  const float threshold = *last;
  const auto below = std::count_if(magnitudes.begin(), last, [threshold](float x) { return x < threshold; });
  return {threshold, count - below};
}

void append_magnitudes(std::vector<float>& to, const Tensor& w) {
  for (const float x : w.span<float>()) to.push_back(std::abs(x));
}

// Sets the weights that the cut prunes to 0 and returns the mask. Subtracts the ties it has pruned from
// `cut.ties`, so that one cut can go through several tensors.
Tensor apply(Cut& cut, const Tensor& w) {
  Tensor mask(w.shape(), DType::u8);
  for (int64_t i = 0; i < w.numel(); ++i) {
    float& x = w.data<float>()[i];
    const bool tie = std::abs(x) == cut.threshold && cut.ties > 0;
    const bool pruned = std::abs(x) < cut.threshold || tie;
    cut.ties -= tie;
    mask.data<uint8_t>()[i] = !pruned;
    if (pruned) x = 0;
  }
  return mask;
}

void check_weight(const char* what, const std::string& name, const Tensor& w) {
  TANDEM_CHECK(w.dtype() == DType::f32 && w.device().is_cpu(), "{}: {} is {}; it must be f32 on the CPU",
               what, name, w.summary());
  TANDEM_CHECK(all_finite(w), "{}: {} holds a value that is not finite; the model has diverged", what, name);
}

}  // namespace

bool is_compressed(const NamedTensor& parameter) {
  return parameter.value.rank() >= 2 && !parameter.name.ends_with("bias");
}

std::vector<NamedTensor> prune(const std::vector<NamedTensor>& parameters, double sparsity,
                               PruningScope scope) {
  TANDEM_CHECK(sparsity >= 0 && sparsity < 1, "prune: a sparsity of {}; it must be at least 0 and below 1",
               sparsity);
  std::vector<NamedTensor> masks;
  std::vector<float> magnitudes;
  for (const NamedTensor& parameter : parameters) {
    if (!is_compressed(parameter)) continue;
    check_weight("prune", parameter.name, parameter.value);
    append_magnitudes(magnitudes, parameter.value);
    if (scope == PruningScope::global) continue;
    Cut own = cut_for(std::move(magnitudes), sparsity);
    masks.push_back({parameter.name, apply(own, parameter.value)});
    magnitudes.clear();
  }
  if (scope == PruningScope::layer) return masks;
  Cut shared = cut_for(std::move(magnitudes), sparsity);
  for (const NamedTensor& parameter : parameters)
    if (is_compressed(parameter)) masks.push_back({parameter.name, apply(shared, parameter.value)});
  return masks;
}

Quantized quantize(const Tensor& w, int bits, bool exact_zero) {
  TANDEM_CHECK(bits >= 2 && bits <= 8, "quantize: {} bits; give 2 to 8", bits);
  check_weight("quantize", "the tensor", w);
  const std::span<const float> values = w.span<float>();
  const auto [lowest, highest] = std::minmax_element(values.begin(), values.end());
  double low = values.empty() ? 0 : *lowest, high = values.empty() ? 0 : *highest;
  if (exact_zero || low == high) {
    low = std::min(low, 0.0);
    high = std::max(high, 0.0);
  }
  const double top = (1 << bits) - 1;
  Quantized q{Tensor(w.shape(), DType::u8), 1, 0, bits};
  const double step = (high - low) / top;
  if (step >= std::numeric_limits<float>::min()) {  // a smaller range is as good as 0, and has no step in f32
    q.step = static_cast<float>(step);
    q.zero = static_cast<float>(exact_zero ? std::round(-low / q.step) : -low / q.step);
  }
  for (size_t i = 0; i < values.size(); ++i)
    q.codes.data<uint8_t>()[i] = static_cast<uint8_t>(
        std::clamp(std::round(static_cast<double>(values[i]) / q.step + q.zero), 0.0, top));
  return q;
}

Tensor dequantize(const Quantized& q) {
  Tensor w(q.codes.shape(), DType::f32);
  for (int64_t i = 0; i < w.numel(); ++i)
    w.data<float>()[i] = q.step * (static_cast<float>(q.codes.data<uint8_t>()[i]) - q.zero);
  return w;
}

}  // namespace tandem
