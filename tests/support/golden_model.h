// What the golden tests of models share.
#pragma once
#include <stdexcept>
#include <string>

#include "models/language_model.h"
#include "tests/support/golden.h"

namespace tandem::testing {

// The part of a state by its name, "memory.0".
inline Tensor part(const State& state, const std::string& name) {
  const Tensor found = find_tensor(state.parts, name);
  if (!found.defined()) throw std::runtime_error("no part " + name);
  return found;
}

inline double mean_of(const Tensor& x) {
  double sum = 0;
  for (const double value : x.to(DType::f64).to_vector<double>()) sum += value;
  return sum / static_cast<double>(x.numel());
}

}  // namespace tandem::testing
