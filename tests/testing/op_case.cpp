// Inputs of cases.
#include "tandem/testing/op_case.h"

namespace tandem::testing {

Tensor random_tensor(Shape shape, DType dtype, uint64_t seed, double lo, double hi) {
  Tensor x(shape, DType::f64);
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 0x2545F4914F6CDD1Du;
  for (double& value : x.span<double>()) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double unit = static_cast<double>(state >> 40) * 0x1p-24;
    value = static_cast<double>(static_cast<float>(lo + (hi - lo) * unit));
  }
  return x.to(dtype);
}

Tensor random_ids(Shape shape, int64_t count, uint64_t seed) {
  const Tensor unit = random_tensor(shape, DType::f64, seed, 0, 1);
  Tensor ids(shape, DType::i32);
  for (int64_t i = 0; i < ids.numel(); ++i)
    ids.data<int32_t>()[i] = static_cast<int32_t>(unit.data<double>()[i] * static_cast<double>(count)) %
                             static_cast<int32_t>(count);
  return ids;
}

Tensor tensor_from(Shape shape, const std::function<double(int64_t)>& f) {
  Tensor y(shape, DType::f64);
  for (int64_t i = 0; i < y.numel(); ++i) y.data<double>()[i] = f(i);
  return y;
}

}  // namespace tandem::testing
