// muon_step: the batches of equal shapes and their products; on the CPU, the loops before and after them.
#include "tandem/ops/muon_step.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/gemm/round_bf16.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/optimizer_step.h"
#include "tandem/ops/support/check_operand.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace cpu {
namespace {

constexpr int64_t kBlock = 1 << 14;  // elements of a block of m
constexpr int64_t kTileRows = 32,
                  kTile = 64;  // rows of a strip, and columns of it that are transposed at once

// Updates m and returns the sum of the squares of u.
template <class T>
TANDEM_INLINE double update_momentum_block(T* m, const T* gradient, T beta, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    m[i] = muon_momentum(m[i], gradient[i], beta);
    const double u = muon_momentum(m[i], gradient[i], beta);
    sum += u * u;
  }
  return sum;
}

TANDEM_SIMD double update_momentum(float* m, const float* gradient, float beta, int64_t n) {
  return update_momentum_block(m, gradient, beta, n);
}
TANDEM_SIMD double update_momentum(double* m, const double* gradient, double beta, int64_t n) {
  return update_momentum_block(m, gradient, beta, n);
}

// x = scale u.
template <class T>
TANDEM_INLINE void write_direction_block(T* x, const T* m, const T* gradient, T beta, T scale, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] = scale * muon_momentum(m[i], gradient[i], beta);
}

TANDEM_SIMD void write_direction(float* x, const float* m, const float* gradient, float beta, float scale,
                                 int64_t n) {
  write_direction_block(x, m, gradient, beta, scale, n);
}
TANDEM_SIMD void write_direction(double* x, const double* m, const double* gradient, double beta,
                                 double scale, int64_t n) {
  write_direction_block(x, m, gradient, beta, scale, n);
}

template <class T>
TANDEM_INLINE void update_value_block(T* value, const T* x, const T* mask, T decay, T rate, int64_t n) {
  if (mask) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i)
      value[i] = mask[i] != T(0) ? muon_value(value[i], x[i], decay, rate) : T(0);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) value[i] = muon_value(value[i], x[i], decay, rate);
  }
}

TANDEM_SIMD void update_value(float* value, const float* x, const float* mask, float decay, float rate,
                              int64_t n) {
  update_value_block(value, x, mask, decay, rate, n);
}
TANDEM_SIMD void update_value(double* value, const double* x, const double* mask, double decay, double rate,
                              int64_t n) {
  update_value_block(value, x, mask, decay, rate, n);
}

template <class T>
TANDEM_INLINE void polynomial_row_block(T* p, const T* a, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) p[i] = muon_polynomial_element(T(0), a[i], p[i]);
}

TANDEM_SIMD void polynomial_row(float* p, const float* a, int64_t n) {
  polynomial_row_block(p, a, n);
}
TANDEM_SIMD void polynomial_row(double* p, const double* a, int64_t n) {
  polynomial_row_block(p, a, n);
}

// Calls f(slot, first, rows) for strips of kTileRows rows of every matrix.
template <class F>
void for_strips(const std::vector<MuonSlot>& batch, const F& f) {
  std::vector<std::pair<size_t, int64_t>> strips;
  for (size_t g = 0; g < batch.size(); ++g)
    for (int64_t row = 0; row < batch[g].value.size(0); row += kTileRows) strips.emplace_back(g, row);
  const int64_t count = static_cast<int64_t>(strips.size());
  parallel_for(count, count > 1, [&](int64_t i) {
    const auto [g, row] = strips[i];
    f(g, row, std::min(kTileRows, batch[g].value.size(0) - row));
  });
}

bool is_tall(const Tensor& matrix) {
  return matrix.size(0) > matrix.size(1);
}

// Returns 1 / (|u| + eps) of each matrix, and updates m.
std::vector<double> begin_scales(const std::vector<MuonSlot>& batch, const MuonRule& rule) {
  const int64_t n = batch[0].value.numel(), blocks = (n + kBlock - 1) / kBlock;
  const int64_t count = static_cast<int64_t>(batch.size()) * blocks;
  std::vector<double> sums(static_cast<size_t>(count));
  parallel_for(count, count > 1, [&](int64_t i) {
    const MuonSlot& slot = batch[i / blocks];
    const int64_t begin = i % blocks * kBlock;
    dispatch_float(slot.value.dtype(), "muon_step", [&]<class T>() {
      sums[i] = update_momentum(slot.m.data<T>() + begin, slot.gradient.data<T>() + begin,
                                static_cast<T>(rule.beta), std::min(kBlock, n - begin));
    });
  });
  std::vector<double> scales;
  for (size_t g = 0; g < batch.size(); ++g) {
    double sum = 0;
    for (int64_t i = 0; i < blocks; ++i) sum += sums[g * blocks + i];
    scales.push_back(1 / (std::sqrt(sum) + kMuonEps));
  }
  return scales;
}

}  // namespace

void muon_begin(const Tensor& x, const std::vector<MuonSlot>& batch, const MuonRule& rule,
                const Tensor& /*outcome*/) {
  const std::vector<double> scales = begin_scales(batch, rule);
  const int64_t longer = x.size(2), numel = x.size(1) * longer;
  dispatch_float(x.dtype(), "muon_step", [&]<class T>() {
    for_strips(batch, [&](size_t g, int64_t first, int64_t rows) {
      const MuonSlot& slot = batch[g];
      const int64_t columns = slot.value.size(1), begin = first * columns;
      const T *const m = slot.m.data<T>() + begin, *const gradient = slot.gradient.data<T>() + begin;
      const T beta = static_cast<T>(rule.beta), scale = static_cast<T>(scales[g]);
      T* const to = x.data<T>() + static_cast<int64_t>(g) * numel;
      if (!is_tall(slot.value)) return write_direction(to + begin, m, gradient, beta, scale, rows * columns);
      T tile[kTileRows * kTile];
      for (int64_t column = 0; column < columns; column += kTile) {
        const int64_t width = std::min(kTile, columns - column);
        for (int64_t i = 0; i < rows; ++i)
          write_direction(tile + i * kTile, m + i * columns + column, gradient + i * columns + column, beta,
                          scale, width);
        for (int64_t j = 0; j < width; ++j)
          for (int64_t i = 0; i < rows; ++i) to[(column + j) * longer + first + i] = tile[i * kTile + j];
      }
    });
  });
}

void muon_polynomial(const Tensor& p, const Tensor& a) {
  const int64_t n = p.size(2);
  dispatch_float(p.dtype(), "muon_step", [&]<class T>() {
    for_rows(p.size(0) * n, n, [&](int64_t row, int64_t end) {
      for (; row < end; ++row) {
        T* const out = p.data<T>() + row * n;
        polynomial_row(out, a.data<T>() + row * n, n);
        out[row % n] += muon_polynomial_element(T(1), T(0), T(0));
      }
    });
  });
}

void muon_end(const std::vector<MuonSlot>& batch, const Tensor& x, const MuonRule& rule, const Tensor& lr,
              const Tensor& /*outcome*/) {
  const int64_t longer = x.size(2), numel = x.size(1) * longer;
  const MuonFactors factors = muon_factors(rule, *lr.data<double>(), longer);
  dispatch_float(x.dtype(), "muon_step", [&]<class T>() {
    const T decay = static_cast<T>(factors.decay), rate = static_cast<T>(factors.rate);
    for_strips(batch, [&](size_t g, int64_t first, int64_t rows) {
      const MuonSlot& slot = batch[g];
      const int64_t columns = slot.value.size(1), begin = first * columns;
      const T* const from = x.data<T>() + static_cast<int64_t>(g) * numel;
      T* const value = slot.value.data<T>() + begin;
      const T* const mask = slot.mask.defined() ? slot.mask.data<T>() + begin : nullptr;
      if (is_tall(slot.value)) {
        T tile[kTileRows * kTile];
        for (int64_t column = 0; column < columns; column += kTile) {
          const int64_t width = std::min(kTile, columns - column);
          for (int64_t j = 0; j < width; ++j)
            for (int64_t i = 0; i < rows; ++i) tile[i * kTile + j] = from[(column + j) * longer + first + i];
          for (int64_t i = 0; i < rows; ++i) {
            const int64_t at = i * columns + column;
            update_value(value + at, tile + i * kTile, mask ? mask + at : nullptr, decay, rate, width);
          }
        }
      } else {
        update_value(value, from + begin, mask, decay, rate, rows * columns);
      }
      if (slot.copy.defined()) round_to_bf16(slot.copy.data<bf16>() + begin, value, rows * columns);
    });
  });
}

}  // namespace cpu

namespace {

void check_slot(const MuonSlot& slot, Device device) {
  constexpr const char* kName = "muon_step";
  const Tensor& value = slot.value;
  check_defined(kName, {{"slot.value", value}});
  TANDEM_CHECK(value.rank() == 2 && (value.dtype() == DType::f32 || value.dtype() == DType::f64) &&
                   value.device() == device,
               "{}: slot.value is {}; it must be a matrix, f32 or f64, on {}", kName, value.summary(),
               device.str());
  const MainOperand main{kName, "slot.value", value};
  check_operand(main, "slot.gradient", slot.gradient, value.shape(), value.dtype());
  check_operand(main, "slot.m", slot.m, value.shape(), value.dtype());
  if (slot.copy.defined()) check_operand(main, "slot.copy", slot.copy, value.shape(), DType::bf16);
  if (slot.mask.defined()) check_operand(main, "slot.mask", slot.mask, value.shape(), value.dtype());
}

// Returns the slots that have elements, grouped by dtype and by both axes, the shorter one first, in order of first
// appearance within a group and at most kMuonBatch together.
std::vector<std::vector<MuonSlot>> batches_of(const std::vector<MuonSlot>& slots) {
  std::vector<std::vector<MuonSlot>> batches;
  std::map<std::tuple<DType, int64_t, int64_t>, size_t> open;  // index of the last batch of its kind
  for (const MuonSlot& slot : slots) {
    if (slot.value.numel() == 0) continue;
    const auto [shorter, longer] = std::minmax({slot.value.size(0), slot.value.size(1)});
    const auto [found, is_new] = open.try_emplace({slot.value.dtype(), shorter, longer}, batches.size());
    if (is_new || batches[found->second].size() == static_cast<size_t>(kMuonBatch)) {
      found->second = batches.size();
      batches.emplace_back();
    }
    batches[found->second].push_back(slot);
  }
  return batches;
}

// c = a b, or a b'. Batches of matrices (G, rows, columns).
void multiply(const Tensor& c, const Tensor& a, const Tensor& b, MatmulPrecision precision,
              bool transpose_b = false) {
  TANDEM_DISPATCH(c.device(), matmul(c, a, b, {false, transpose_b, false, precision}));
}

// P = a I + b A + c A A.
void write_polynomial(const Tensor& p, const Tensor& a, MatmulPrecision precision) {
  multiply(p, a, a, precision);
  TANDEM_DISPATCH(p.device(), muon_polynomial(p, a));
}

// The iteration as its equations say, with three products each time. Returns the result, which may take x's memory.
Tensor iterate_on_matrix(Tensor x) {
  const MatmulPrecision precision = matmul_precision();
  const Tensor a({x.size(0), x.size(1), x.size(1)}, x.dtype(), x.device()), p = empty_like(a);
  Tensor next = empty_like(x);
  for (int i = 0; i < kMuonIterations; ++i) {
    multiply(a, x, x, precision, true);
    write_polynomial(p, a, precision);
    multiply(next, p, x, precision);
    std::swap(x, next);
  }
  return x;
}

// The same by products of the small matrices alone. P is a polynomial of A, so that the next A is (P X)(P X)' = P A P, and
// the last X is Q X, where Q is the product of all P. For matrices of r x c, c = 4 r, that is half of the work. The products
// must be exact to some 24 bits: small eigenvalues of A are squares of small singular values, and what rounds one below 0 grows
// from iteration to iteration.
Tensor iterate_on_gram(const Tensor& x) {
  constexpr MatmulPrecision precision = MatmulPrecision::f32;
  Tensor a({x.size(0), x.size(1), x.size(1)}, x.dtype(), x.device());
  const Tensor p = empty_like(a), ap = empty_like(a);
  Tensor q = empty_like(a), next = empty_like(a);
  multiply(a, x, x, precision, true);
  write_polynomial(q, a, precision);
  for (int i = 1; i < kMuonIterations; ++i) {
    const Tensor& last = i == 1 ? q : p;
    multiply(ap, a, last, precision);
    multiply(a, last, ap, precision);
    write_polynomial(p, a, precision);
    multiply(next, p, q, precision);
    std::swap(q, next);
  }
  Tensor result = empty_like(x);
  multiply(result, q, x, precision);
  return result;
}

// Brings the singular values of the matrices x (G, r, c), r <= c, near 1; they lie in (0, 1] before. Returns the result,
// which may take x's memory.
Tensor orthogonalise(Tensor x) {
  return muon_works_on_gram(x.dtype(), x.device(), x.size(1), x.size(2)) ? iterate_on_gram(x)
                                                                         : iterate_on_matrix(std::move(x));
}

}  // namespace

bool muon_works_on_gram(DType dtype, Device device, int64_t shorter, int64_t longer) {
  const bool is_exact = dtype == DType::f64 || device.is_cpu() || matmul_precision() == MatmulPrecision::f32;
  return is_exact && longer >= 2 * shorter;
}

void muon_step(const std::vector<MuonSlot>& slots, const MuonRule& rule, const Tensor& lr,
               const Tensor& outcome) {
  check_defined("muon_step", {{"lr", lr}, {"outcome", outcome}});
  const Device device = outcome.device();
  const auto check = [device](const char* name, const Tensor& x, int64_t count) {
    TANDEM_CHECK(x.dtype() == DType::f64 && x.shape() == Shape{count} && x.device() == device,
                 "muon_step: {} is {}; it must be f64 ({}) on {}", name, x.summary(), count, device.str());
  };
  check("outcome", outcome, kOutcomeSize);
  check("lr", lr, 1);
  for (const MuonSlot& slot : slots) check_slot(slot, device);
  // On a GPU only the kernels can ask.
  if (device.is_cpu() && outcome.data<double>()[kOutcomeUpdated] == 0) return;
  for (const std::vector<MuonSlot>& batch : batches_of(slots)) {
    const Tensor& first = batch[0].value;
    const auto [shorter, longer] = std::minmax({first.size(0), first.size(1)});
    Tensor x({static_cast<int64_t>(batch.size()), shorter, longer}, activation_dtype(first), device);
    TANDEM_DISPATCH(device, muon_begin(x, batch, rule, outcome));
    x = orthogonalise(std::move(x));
    TANDEM_DISPATCH(device, muon_end(batch, x, rule, lr, outcome));
  }
}

}  // namespace tandem
