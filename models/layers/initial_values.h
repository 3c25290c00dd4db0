// Initial values of parameters.
#pragma once
#include "core/random.h"
#include "models/layers/token_layers.h"

namespace tandem {

// A tensor within (-bound, bound), and one of N(0, deviation^2), of the model's dtype and device.
Tensor uniform(Random& random, Shape shape, double bound, const TokenConfig& config);
Tensor normal(Random& random, Shape shape, double deviation, const TokenConfig& config);

// Initial parameters of transformers, in one of two ways that `deviation` chooses:
//     deviation > 0  weights and embeddings ~ N(0, deviation^2), gains of norms ~ N(1, deviation^2): Transformer-XL
//     deviation = 0  matrices Xavier-uniform, embeddings ~ N(0, 1 / width), gains 1: Baevski and Auli
class InitialValues {
 public:
  InitialValues(const TokenConfig& config, double deviation, uint64_t seed)
      : random_(seed), deviation_(deviation), dtype_(config.dtype), device_(config.device) {}

  Tensor matrix(int64_t out, int64_t in);
  Tensor embedding(Shape shape);
  Tensor gain(int64_t d);
  Tensor normal(Shape shape);  // N(0, deviation^2)
  Tensor constant(Shape shape, double value) const;
  // (channels, width) of a filter over time, of variance 1 / width.
  Tensor filter(int64_t channels, int64_t width);

 private:
  Tensor drawn(Shape shape, double mean, double deviation);

  Random random_;
  double deviation_;
  DType dtype_;
  Device device_;
};

}  // namespace tandem
