// Helpers of the tests that compare a model with its authors' code.
#pragma once
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>

#include "tandem/models/language_model.h"
#include "tandem/testing/max_difference.h"
#include "tests/support/golden.h"

namespace tandem::testing {

// Returns a part of a state by its name, such as "memory.0".
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

// Compares each gradient with the authors' by name, and the global L2 norm of all with theirs.
inline void check_gradients(const std::vector<NamedTensor>& gradients,
                            const std::function<Tensor(const std::string&)>& authors, double authors_norm,
                            double tolerance) {
  double squares = 0;
  for (const NamedTensor& gradient : gradients) {
    CAPTURE(gradient.name);
    const Tensor ours = gradient.value.to(Device::cpu());
    CHECK(relative_error(ours, authors(gradient.name).view_as(ours.shape())) < tolerance);
    for (const double g : ours.to(DType::f64).to_vector<double>()) squares += g * g;
  }
  CHECK(std::sqrt(squares) == doctest::Approx(authors_norm).epsilon(tolerance));
}

}  // namespace tandem::testing
