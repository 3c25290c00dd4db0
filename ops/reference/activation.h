// The activation functions of one number, as their papers write them.
#pragma once
#include <cmath>

namespace tandem::reference {

inline double relu(double x) {
  return x > 0 ? x : 0;
}
inline double squared_relu(double x) {
  return x > 0 ? x * x : 0;
}
inline double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
inline double silu(double x) {
  return x * sigmoid(x);
}
inline double square(double x) {
  return x * x;
}

// x Phi(x), where Phi is the distribution function of the standard normal distribution.
inline double gelu_erf(double x) {
  return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
}
// Two approximations of it.
inline double gelu_tanh(double x) {
  const double pi = std::acos(-1.0);
  return x / 2 * (1 + std::tanh(std::sqrt(2 / pi) * (x + 0.044715 * x * x * x)));
}
inline double gelu_sigmoid1702(double x) {
  return x * sigmoid(1.702 * x);
}

}  // namespace tandem::reference
