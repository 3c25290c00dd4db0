// Drawing initial values.
#include "tandem/models/layers/initial_values.h"

#include <cmath>

#include "tandem/core/array.h"

namespace tandem {

Tensor uniform(Random& random, Shape shape, double bound, const TokenConfig& config) {
  return uniform(shape, random, -bound, bound, config.dtype, config.device);
}

Tensor normal(Random& random, Shape shape, double deviation, const TokenConfig& config) {
  return normal(shape, random, 0, deviation, config.dtype, config.device);
}

Tensor xavier_uniform(Random& random, Shape shape, const TokenConfig& config, double factor) {
  return uniform(random, shape, std::sqrt(6.0 / static_cast<double>(shape[0] + shape[1])) * factor, config);
}

Tensor uniform_through(double (*f)(double), Random& random, int64_t n, double low, double high,
                       const TokenConfig& config) {
  const Tensor values({n}, DType::f64);
  random.fill_uniform(values, low, high);
  for (double& value : values.span<double>()) value = f(value);
  return values.to(config.dtype).to(config.device);
}

double inverse_sqrt(int64_t n) {
  return 1 / std::sqrt(static_cast<double>(n));
}

Tensor InitialValues::drawn(Shape shape, double mean, double deviation) {
  return tandem::normal(shape, random_, mean, deviation, dtype_, device_);
}

Tensor InitialValues::matrix(int64_t out, int64_t in) {
  if (deviation_ > 0) return drawn({out, in}, 0, deviation_);
  const double bound = std::sqrt(6.0 / static_cast<double>(in + out));
  return uniform({out, in}, random_, -bound, bound, dtype_, device_);
}

Tensor InitialValues::embedding(Shape shape) {
  return drawn(shape, 0, deviation_ > 0 ? deviation_ : 1 / std::sqrt(static_cast<double>(shape[-1])));
}

Tensor InitialValues::gain(int64_t d) {
  return drawn({d}, 1, deviation_);
}

Tensor InitialValues::normal(Shape shape) {
  return drawn(shape, 0, deviation_);
}

Tensor InitialValues::constant(Shape shape, double value) const {
  return full(shape, value, dtype_, device_);
}

Tensor InitialValues::filter(int64_t channels, int64_t width) {
  return drawn({channels, width}, 0, 1 / std::sqrt(static_cast<double>(width)));
}

}  // namespace tandem
