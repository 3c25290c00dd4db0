// One update of one matrix p by Muon (Jordan et al. 2024, with the scale of Liu et al. 2025), in f64:
//
//     m = beta m + (1 - beta) g              u = beta m + (1 - beta) g
//     X = u / (|u| + 1e-7), transposed if p has more rows than columns
//     five times:  A = X X',  X = a X + (b A + c A A) X
//     p = p - lr (wd p + 0.2 sqrt(max(rows, columns)) X), X transposed back; 0 where the mask is 0
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/muon_step.h"

namespace tandem::reference {

// Row-major matrices.
struct Matrix {
  int64_t rows = 0, columns = 0;
  std::vector<double> values = std::vector<double>(static_cast<size_t>(rows * columns));

  double& at(int64_t i, int64_t j) { return values[static_cast<size_t>(i * columns + j)]; }
  double at(int64_t i, int64_t j) const { return values[static_cast<size_t>(i * columns + j)]; }
};

inline Matrix transposed(const Matrix& x) {
  Matrix y{x.columns, x.rows};
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.columns; ++j) y.at(j, i) = x.at(i, j);
  return y;
}

inline Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c{a.rows, b.columns};
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t k = 0; k < a.columns; ++k)
      for (int64_t j = 0; j < b.columns; ++j) c.at(i, j) += a.at(i, k) * b.at(k, j);
  return c;
}

// Returns u with its singular values brought near 1.
inline Matrix orthogonalised(const Matrix& u) {
  Matrix x = u.rows > u.columns ? transposed(u) : u;
  double squares = 0;
  for (const double value : x.values) squares += value * value;
  for (double& value : x.values) value /= std::sqrt(squares) + 1e-7;
  for (int iteration = 0; iteration < 5; ++iteration) {
    const Matrix a = product(x, transposed(x)), aa = product(a, a);
    Matrix p{a.rows, a.rows};
    for (size_t i = 0; i < p.values.size(); ++i) p.values[i] = -4.7750 * a.values[i] + 2.0315 * aa.values[i];
    const Matrix px = product(p, x);
    for (size_t i = 0; i < x.values.size(); ++i) x.values[i] = 3.4445 * x.values[i] + px.values[i];
  }
  return u.rows > u.columns ? transposed(x) : x;
}

inline void muon_update(const MuonSlot& slot, const MuonRule& rule, double lr) {
  Matrix u{slot.value.size(0), slot.value.size(1)};
  for (int64_t i = 0; i < slot.value.numel(); ++i) {
    double& m = slot.m.data<double>()[i];
    const double g = slot.gradient.data<double>()[i];
    m = rule.beta * m + (1 - rule.beta) * g;
    u.values[static_cast<size_t>(i)] = rule.beta * m + (1 - rule.beta) * g;
  }
  const Matrix x = orthogonalised(u);
  const double scale = 0.2 * std::sqrt(static_cast<double>(std::max(x.rows, x.columns)));
  for (int64_t i = 0; i < slot.value.numel(); ++i) {
    double& p = slot.value.data<double>()[i];
    p -= lr * (rule.weight_decay * p + scale * x.values[static_cast<size_t>(i)]);
    if (slot.mask.defined() && slot.mask.data<double>()[i] == 0) p = 0;
  }
}

}  // namespace tandem::reference
