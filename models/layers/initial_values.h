// Initial values of parameters.
#pragma once
#include "tandem/core/random.h"
#include "tandem/models/layers/token_layers.h"

namespace tandem {

// Draws a tensor uniform in (-bound, bound). `config` gives dtype and device, here and below.
Tensor uniform(Random& random, Shape shape, double bound, const TokenConfig& config);
// Draws a tensor from N(0, deviation^2).
Tensor normal(Random& random, Shape shape, double deviation, const TokenConfig& config);
// Draws a matrix (out, in) uniform with variance 2 / (out + in), times `factor` (Glorot and Bengio, AISTATS
// 2010).
Tensor xavier_uniform(Random& random, Shape shape, const TokenConfig& config, double factor = 1);
// Draws n numbers uniform in [low, high) and returns f of each, computed in f64.
Tensor uniform_through(double (*f)(double), Random& random, int64_t n, double low, double high,
                       const TokenConfig& config);
// Returns 1 / sqrt(n): with this standard deviation the weights of n inputs keep their variance.
double inverse_sqrt(int64_t n);

// Initial values of transformers. `deviation` chooses between two ways:
//     deviation > 0   weights and embeddings ~ N(0, deviation^2), gains ~ N(1, deviation^2) (Transformer-XL)
//     deviation = 0   Xavier-uniform matrices, embeddings ~ N(0, 1 / width), gains 1 (Baevski and Auli)
class InitialValues {
 public:
  InitialValues(const TokenConfig& config, double deviation, uint64_t seed)
      : random_(seed), deviation_(deviation), dtype_(config.dtype), device_(config.device) {}

  Tensor matrix(int64_t out, int64_t in);
  Tensor embedding(Shape shape);
  Tensor gain(int64_t d);
  Tensor normal(Shape shape);  // ~ N(0, deviation^2)
  Tensor constant(Shape shape, double value) const;
  // Draws a filter over time, (channels, width), from N(0, 1 / width).
  Tensor filter(int64_t channels, int64_t width);

 private:
  Tensor drawn(Shape shape, double mean, double deviation);

  Random random_;
  double deviation_;
  DType dtype_;
  Device device_;
};

}  // namespace tandem
