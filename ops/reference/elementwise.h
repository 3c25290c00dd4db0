// Functions of one number x with numbers a and b, as they are written on paper.
#pragma once
#include <algorithm>
#include <cmath>

namespace tandem::reference {

inline double add_number(double x, double a, double) {
  return x + a;
}
inline double subtract_from(double x, double a, double) {
  return a - x;
}
inline double divide_by(double x, double a, double) {
  return x / a;
}
inline double abs(double x, double, double) {
  return x < 0 ? -x : x;
}
inline double clamp(double x, double a, double b) {
  return std::min(std::max(x, a), b);
}
inline double pow(double x, double a, double) {
  return std::pow(x, a);
}
inline double softplus(double x, double, double) {
  return std::log(1 + std::exp(x));
}

}  // namespace tandem::reference
