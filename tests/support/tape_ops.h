// Small operators written with record() alone, so that the tests of the tape need nothing from ops/.
#pragma once
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"

namespace tape_ops {

using tandem::Grads;
using tandem::Shape;
using tandem::Tensor;

inline Tensor vector_of(std::vector<double> values) {
  return tandem::tensor_of<double>({static_cast<int64_t>(values.size())}, values);
}
inline Tensor leaf_of(std::vector<double> values) {
  return tandem::requires_grad(vector_of(std::move(values)));
}
inline std::vector<double> list(const Tensor& x) {
  return x.to_vector<double>();
}

// z_i = f(x_i, y_i), not recorded.
inline Tensor zip(const Tensor& x, const Tensor& y, double (*f)(double, double)) {
  Tensor z = empty_like(x);
  for (int64_t i = 0; i < x.numel(); ++i) z.data<double>()[i] = f(x.data<double>()[i], y.data<double>()[i]);
  return z;
}
inline Tensor product(const Tensor& x, const Tensor& y) {
  return zip(x, y, [](double a, double b) { return a * b; });
}

// One tensor is the gradient of both inputs.
inline Tensor add(const Tensor& a, const Tensor& b) {
  const Tensor y = zip(a, b, [](double p, double q) { return p + q; });
  return record("add", y, {a, b}, [](const Tensor& dy) -> Grads { return {dy, dy}; });
}

inline Tensor mul(const Tensor& a, const Tensor& b) {
  return record("mul", product(a, b), {a, b}, [a, b](const Tensor& dy) -> Grads {
    return {product(dy, b), product(dy, a)};
  });
}

inline Tensor scale(const Tensor& x, double factor) {
  const auto times = [](const Tensor& z, double k) { return product(z, full(z.shape(), k, z.dtype())); };
  return record("scale", times(x, factor), {x},
                [times, factor](const Tensor& dy) -> Grads { return {times(dy, factor)}; });
}

inline Tensor sum(const Tensor& x) {
  double total = 0;
  for (double value : x.span<double>()) total += value;
  const Shape shape = x.shape();
  return record("sum", tandem::full({}, total, x.dtype()), {x},
                [shape](const Tensor& dy) -> Grads { return {tandem::full(shape, dy.item(), dy.dtype())}; });
}

// The words of each line of a dump, without the last, which is a time and differs from run to run.
inline std::vector<std::vector<std::string>> rows_without_times(const std::string& dump) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(dump);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    rows.push_back({std::istream_iterator<std::string>(words), {}});
    if (!rows.back().empty()) rows.back().pop_back();
  }
  return rows;
}

}  // namespace tape_ops
