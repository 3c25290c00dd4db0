// Packed tiles and vectors, so that tests need not wait: op(A) in panels of one vector of rows, op(B) in
// panels of a few columns, each tile of D in registers over all of k.
#include "matmul.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "tandem/core/dtype.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"

namespace tandem::simulator {
namespace {

constexpr int kColumns = 8;

// One vector of T: 64 bytes, in as many registers as the machine needs for them.
template <class T>
struct alignas(64) Lanes {
  static constexpr int kCount = 64 / sizeof(T);
  typedef T Vector __attribute__((vector_size(64)));
  Vector v;
};
template <class T>
struct Columns {
  T v[kColumns];
};

// It sees packed copies alone, which need no check, and tests with sanitizers wait for it more than for
// anything else. In other builds there is nothing to leave out, and clang 14 refuses the attribute beside target_clones.
#ifdef TANDEM_SANITIZE
#define TANDEM_UNCHECKED __attribute__((no_sanitize("address", "undefined")))
#else
#define TANDEM_UNCHECKED
#endif

template <class T>
TANDEM_UNCHECKED TANDEM_INLINE void tile(Lanes<T>* sums, const Lanes<T>* a, const Columns<T>* b, int64_t k) {
  typename Lanes<T>::Vector s[kColumns] = {};
  for (int64_t l = 0; l < k; ++l)
    for (int j = 0; j < kColumns; ++j) s[j] += a[l].v * b[l].v[j];
  for (int j = 0; j < kColumns; ++j) sums[j].v = s[j];
}
TANDEM_UNCHECKED TANDEM_SIMD void tile_of(Lanes<float>* sums, const Lanes<float>* a, const Columns<float>* b,
                                          int64_t k) {
  tile(sums, a, b, k);
}
TANDEM_UNCHECKED TANDEM_SIMD void tile_of(Lanes<double>* sums, const Lanes<double>* a,
                                          const Columns<double>* b, int64_t k) {
  tile(sums, a, b, k);
}

double load(const Matrix& matrix, int64_t index) {
  switch (matrix.element) {
    case Element::f32:
      return static_cast<const float*>(matrix.data)[index];
    case Element::f64:
      return static_cast<const double*>(matrix.data)[index];
    case Element::bf16:
      return static_cast<const bf16*>(matrix.data)[index];
  }
  return 0;
}

void store(const Matrix& matrix, int64_t index, double value) {
  switch (matrix.element) {
    case Element::f32:
      static_cast<float*>(matrix.data)[index] = static_cast<float>(value);
      break;
    case Element::f64:
      static_cast<double*>(matrix.data)[index] = value;
      break;
    case Element::bf16:
      static_cast<bf16*>(matrix.data)[index] = bf16(static_cast<float>(value));
      break;
  }
}

// To the nearest, ties to even.
double rounded(double value, Rounding rounding) {
  if (rounding == Rounding::none) return value;
  const auto x = static_cast<float>(value);
  if (rounding == Rounding::bf16) return bf16(x);
  const auto bits = __builtin_bit_cast(uint32_t, x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;  // infinite, or NaN
  return __builtin_bit_cast(float, (bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu);
}

template <class T>
void compute_as(const Matmul& p, int64_t index) {
  constexpr int kRows = Lanes<T>::kCount;
  const bool worth_threads = p.m * p.n * p.k > (1 << 20);
  const int64_t row_panels = (p.m + kRows - 1) / kRows, column_panels = (p.n + kColumns - 1) / kColumns;
  std::vector<Lanes<T>> a(static_cast<size_t>(row_panels * p.k), Lanes<T>{});
  std::vector<Columns<T>> b(static_cast<size_t>(column_panels * p.k), Columns<T>{});
  cpu::parallel_for(p.k, worth_threads, [&](int64_t l) {
    for (int64_t i = 0; i < p.m; ++i) {
      const int64_t at = index * p.a.stride + (p.transpose_a ? l + i * p.a.ld : i + l * p.a.ld);
      a[static_cast<size_t>(i / kRows * p.k + l)].v[i % kRows] =
          static_cast<T>(rounded(load(p.a, at), p.rounding));
    }
    for (int64_t j = 0; j < p.n; ++j) {
      const int64_t at = index * p.b.stride + (p.transpose_b ? j + l * p.b.ld : l + j * p.b.ld);
      b[static_cast<size_t>(j / kColumns * p.k + l)].v[j % kColumns] =
          static_cast<T>(rounded(load(p.b, at), p.rounding));
    }
  });
  const Matrix bias{const_cast<void*>(p.bias), p.d.element, 0, 0};
  const auto alpha = static_cast<T>(p.alpha), beta = static_cast<T>(p.beta);
  cpu::parallel_for(column_panels, worth_threads, [&](int64_t column_panel) {
    for (int64_t row_panel = 0; row_panel < row_panels; ++row_panel) {
      Lanes<T> sums[kColumns];
      tile_of(sums, a.data() + row_panel * p.k, b.data() + column_panel * p.k, p.k);
      for (int64_t j = column_panel * kColumns; j < std::min(p.n, (column_panel + 1) * kColumns); ++j)
        for (int64_t i = row_panel * kRows; i < std::min(p.m, (row_panel + 1) * kRows); ++i) {
          T value = alpha * sums[j % kColumns].v[i % kRows];
          // With beta 0, C may be anything, NaN too.
          if (beta != 0) value += beta * static_cast<T>(load(p.c, index * p.c.stride + i + j * p.c.ld));
          if (p.bias) value += static_cast<T>(load(bias, i));
          store(p.d, index * p.d.stride + i + j * p.d.ld, value);
        }
    }
  });
}

}  // namespace

void skip(const Matmul& p) {
  if (p.beta != 0) return;
  const auto element = static_cast<int64_t>(bytes_of(p.d.element));
  for (int64_t index = 0; index < p.batch; ++index)
    for (int64_t column = 0; column < p.n; ++column)
      std::memset(static_cast<char*>(p.d.data) + (index * p.d.stride + column * p.d.ld) * element, 0,
                  static_cast<size_t>(p.m * element));
}

void compute(const Matmul& product) {
  for (int64_t index = 0; index < product.batch; ++index)
    if (product.a.element == Element::f64)
      compute_as<double>(product, index);
    else
      compute_as<float>(product, index);
}

}  // namespace tandem::simulator
