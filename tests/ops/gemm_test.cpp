// gemm(): every transpose, batch and leading dimension against plain loops, bf16 against operands that are
// rounded one by one, the same bits for any number of threads, counts and the log.
#include "tandem/ops/gemm/gemm.h"
#include "tandem/ops/gemm/log.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "tandem/core/error.h"
#include "tandem/core/tensor.h"
#include "tandem/ops/gemm/few_rows.h"
#include "tandem/ops/gemm/pack.h"
#include "tests/support/op_cases.h"
#include "tests/support/threads.h"

using namespace tandem;
using tandem::testing::random_tensor;

namespace {

// Computes one element of C by the definition, in f64, from operands that `round` may round first.
template <class T, class Round>
double element(const Gemm& p, const T* a, const T* b, int64_t i, int64_t j, Round round) {
  double sum = 0;
  for (int64_t k = 0; k < p.k; ++k)
    sum += round(p.transpose_a ? a[k * p.lda + i] : a[i * p.lda + k]) *
           round(p.transpose_b ? b[j * p.ldb + k] : b[k * p.ldb + j]);
  return sum;
}

double exact(double x) {
  return x;
}
double to_bf16(double x) {
  return static_cast<float>(bf16(static_cast<float>(x)));
}

struct Problem {
  Gemm p;
  Tensor a, b, c, bias;
};

// Makes operands with gaps between rows and between batch items.
Problem problem(int64_t m, int64_t n, int64_t k, bool ta, bool tb, DType dtype, int64_t batch = 1,
                int64_t gap = 0) {
  Problem x;
  x.p = {.m = m, .n = n, .k = k, .transpose_a = ta, .transpose_b = tb, .batch = batch};
  x.p.lda = (ta ? m : k) + gap;
  x.p.ldb = (tb ? k : n) + gap;
  x.p.ldc = n + gap;
  x.p.stride_a = x.p.lda * (ta ? k : m) + gap;
  x.p.stride_b = x.p.ldb * (tb ? n : k) + gap;
  x.p.stride_c = x.p.ldc * m + gap;
  x.a = random_tensor({batch * x.p.stride_a}, dtype, 1);
  x.b = random_tensor({batch * x.p.stride_b}, dtype, 2);
  x.c = random_tensor({batch * x.p.stride_c}, dtype, 3);
  x.bias = random_tensor({n}, dtype, 4);
  return x;
}

// Returns the largest error of an element of C, in units of sqrt(k + 1): infinity if a gap was written to.
template <class T, class Round>
double error_of(const Problem& x, bool with_bias, Round round) {
  const Gemm& p = x.p;
  const Tensor c = x.c.clone();
  cpu::gemm(c.data<T>(), x.a.data<T>(), x.b.data<T>(), p, with_bias ? x.bias.data<T>() : nullptr);
  double worst = 0;
  std::vector<bool> written(static_cast<size_t>(c.numel()));
  for (int64_t g = 0; g < p.batch; ++g)
    for (int64_t i = 0; i < p.m; ++i)
      for (int64_t j = 0; j < p.n; ++j) {
        const int64_t at = g * p.stride_c + i * p.ldc + j;
        written[at] = true;
        const double expected =
            element(p, x.a.data<T>() + g * p.stride_a, x.b.data<T>() + g * p.stride_b, i, j, round) +
            (p.accumulate ? x.c.data<T>()[at] : 0) + (with_bias ? x.bias.data<T>()[j] : 0);
        worst = std::max(worst, std::fabs(c.data<T>()[at] - expected) / std::sqrt(p.k + 1.0));
        if (!std::isfinite(c.data<T>()[at])) worst = std::numeric_limits<double>::infinity();
      }
  for (int64_t i = 0; i < c.numel(); ++i)
    if (!written[i] && c.data<T>()[i] != x.c.data<T>()[i]) worst = std::numeric_limits<double>::infinity();
  return worst;
}

struct Sizes {
  int64_t m, n, k, batch, gap;
};
const std::vector<Sizes> kSizes = {{1, 1, 1, 1, 0},      {3, 5, 0, 1, 0},      {1, 65, 33, 2, 3},
                                   {33, 1, 65, 1, 2},    {65, 33, 3, 3, 1},    {64, 64, 32, 1, 0},
                                   {130, 70, 95, 1, 0},  {300, 129, 40, 1, 4}, {40, 600, 31, 1, 0},
                                   {70, 30, 1100, 1, 0}, {17, 16, 513, 2, 0},  {31, 128, 600, 1, 0}};

template <class T, class Round>
void check_all(MatmulPrecision precision, double tolerance, Round round) {
  for (const Sizes& size : kSizes)
    for (int variant = 0; variant < 16; ++variant) {
      Problem x =
          problem(size.m, size.n, size.k, variant & 1, variant & 2, dtype_of<T>(), size.batch, size.gap);
      x.p.accumulate = variant & 4;
      x.p.precision = precision;
      CAPTURE(size.m);
      CAPTURE(size.n);
      CAPTURE(size.k);
      CAPTURE(variant);
      CHECK(error_of<T>(x, variant & 8, round) < tolerance);
    }
}

template <class T>
std::vector<T> product(const Problem& x, int threads) {
  const tandem::testing::Threads use(threads);
  const Tensor c = x.c.clone();
  cpu::gemm(c.data<T>(), x.a.data<T>(), x.b.data<T>(), x.p);
  return c.to_vector<T>();
}

}  // namespace

TEST_CASE("gemm: f64 products equal the definition" * doctest::test_suite("slow when emulated")) {
  check_all<double>(MatmulPrecision::f32, 1e-14, exact);
}

TEST_CASE("gemm: f32 products equal the definition up to rounding" *
          doctest::test_suite("slow when emulated")) {
  check_all<float>(MatmulPrecision::f32, 1e-6, exact);
}

TEST_CASE("gemm: products of few rows, and of one row more, equal the definition") {
  for (int64_t m = 1; m <= cpu::kFewRows + 1; ++m)
    for (const Sizes& size : std::vector<Sizes>{{m, 1, 1, 1, 0},
                                                {m, 3, 15, 1, 1},
                                                {m, 67, 16, 1, 0},
                                                {m, 33, 1037, 1, 3},
                                                {m, 130, 480, 1, 0},
                                                {m, 5, 7, 2, 1}})
      for (int variant = 0; variant < 4; ++variant) {
        Problem x = problem(size.m, size.n, size.k, false, true, DType::f32, size.batch, size.gap);
        x.p.accumulate = variant & 1;
        CAPTURE(m);
        CAPTURE(size.n);
        CAPTURE(size.k);
        CAPTURE(variant);
        CHECK(error_of<float>(x, variant & 2, exact) < 1e-6);
      }
}

TEST_CASE("gemm: a product of few rows has the same bits for any number of threads and of other rows") {
  const Problem all = problem(cpu::kFewRows, 700, 333, false, true, DType::f32);
  const std::vector<float> expected = product<float>(all, 1);
  CHECK(product<float>(all, 2) == expected);
  CHECK(product<float>(all, 3) == expected);
  for (int64_t m = 1; m < cpu::kFewRows; ++m) {
    Problem first = all;
    first.p.m = m;
    const std::vector<float> c = product<float>(first, 2);
    CHECK(std::equal(c.begin(), c.begin() + m * all.p.ldc, expected.begin()));
  }
}

TEST_CASE("gemm: products of few rows pass NaN and infinity through") {
  Problem x = problem(2, 40, 40, false, true, DType::f32);
  x.a.data<float>()[39] = std::numeric_limits<float>::quiet_NaN();
  x.b.data<float>()[3 * 40] = std::numeric_limits<float>::infinity();
  const std::vector<float> c = product<float>(x, 1);
  CHECK(std::isnan(c[5]));
  CHECK(std::isinf(c[40 + 3]));
  CHECK(std::isfinite(c[40 + 2]));
}

TEST_CASE("gemm: bf16 products equal the definition on rounded operands") {
  if (!cpu_has_bf16()) {
    MESSAGE("skipped: this CPU has no bf16");
    return;
  }
  check_all<float>(MatmulPrecision::bf16, 1e-6, to_bf16);
}

TEST_CASE("gemm: bf16 results are the rounded f32 results, and bf16 operands act as rounded f32 operands") {
  if (!cpu_has_bf16()) {
    MESSAGE("skipped: this CPU has no bf16");
    return;
  }
  for (const Sizes& size : kSizes)
    for (int variant = 0; variant < 4 && size.k > 0; ++variant) {
      Problem x = problem(size.m, size.n, size.k, variant & 1, variant & 2, DType::f32, size.batch, size.gap);
      x.p.precision = MatmulPrecision::bf16;
      CAPTURE(size.m);
      CAPTURE(size.n);
      CAPTURE(size.k);
      CAPTURE(variant);
      const Tensor a = x.a.to(DType::bf16), from_bf16 = x.c.clone();
      cpu::gemm(from_bf16.data<float>(), a.data<bf16>(), x.b.data<float>(), x.p);
      CHECK(from_bf16.to_vector<float>() == product<float>(x, 2));
      if (x.p.transpose_a && !x.p.transpose_b) {
        const Tensor b = x.b.to(DType::bf16), y = x.c.clone();
        cpu::gemm(y.data<float>(), x.a.data<float>(), b.data<bf16>(), x.p);
        CHECK(y.to_vector<float>() == product<float>(x, 2));
      }

      x.p.ldc = x.p.n;  // a bf16 result has no gaps
      x.p.stride_c = x.p.m * x.p.n;
      x.c = zeros({x.p.batch * x.p.stride_c}, DType::f32);
      const Tensor rounded(x.c.shape(), DType::bf16);
      cpu::gemm(rounded.data<bf16>(), x.a.data<float>(), x.b.data<float>(), x.p);
      const std::vector<float> whole = product<float>(x, 2);
      for (int64_t i = 0; i < rounded.numel(); ++i)
        REQUIRE(rounded.data<bf16>()[i].bits == bf16(whole[static_cast<size_t>(i)]).bits);
    }
}

TEST_CASE("gemm: bf16 results and operands have error messages") {
  Gemm p{.m = 2, .n = 3, .k = 4, .lda = 4, .ldb = 3, .ldc = 3};
  const auto run = [&p] { cpu::gemm(static_cast<bf16*>(nullptr), nullptr, nullptr, p); };
  CHECK_THROWS_WITH_AS(run(),
                       "gemm: (2, 4) times (4, 3) with an operand or a result in bf16; it must be of "
                       "precision bf16, and k positive",
                       Error);
  p.precision = MatmulPrecision::bf16;
  p.ldc = 5;
  CHECK_THROWS_WITH_AS(run(),
                       "gemm: (2, 4) times (4, 3) with rows 5 apart in bf16; such a result must be "
                       "overwritten and have no gaps",
                       Error);
  p.ldc = 3;
  p.accumulate = true;
  CHECK_THROWS_WITH_AS(
      run(), doctest::Contains("(2, 4) times (4, 3), accumulated, with rows 3 apart in bf16"), Error);
  p.transpose_b = true;
  CHECK_THROWS_WITH_AS(
      cpu::gemm(static_cast<float*>(nullptr), nullptr, static_cast<const bf16*>(nullptr), p),
      "gemm: (2, 4) times (4, 3) with a right operand in bf16, B transposed; it must be A^T B", Error);
}

TEST_CASE("gemm: a batch may share an operand") {
  for (MatmulPrecision precision : {MatmulPrecision::f32, MatmulPrecision::bf16}) {
    if (precision == MatmulPrecision::bf16 && !cpu_has_bf16()) continue;
    Problem x = problem(20, 30, 40, false, true, DType::f32, 3);
    x.p.precision = precision;
    x.p.stride_b = 0;
    CHECK((precision == MatmulPrecision::f32 ? error_of<float>(x, false, exact)
                                             : error_of<float>(x, false, to_bf16)) < 1e-6);
    std::swap(x.p.stride_a, x.p.stride_b);
    x.p.stride_a = 0;
    x.p.stride_b = x.b.numel() / 3;
    CHECK((precision == MatmulPrecision::f32 ? error_of<float>(x, false, exact)
                                             : error_of<float>(x, false, to_bf16)) < 1e-6);
  }
}

TEST_CASE("gemm: NaN and infinity pass through") {
  for (MatmulPrecision precision : {MatmulPrecision::f32, MatmulPrecision::bf16}) {
    if (precision == MatmulPrecision::bf16 && !cpu_has_bf16()) continue;
    Problem x = problem(40, 40, 40, false, false, DType::f32);
    x.p.precision = precision;
    x.a.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
    x.b.data<float>()[1] = std::numeric_limits<float>::infinity();
    const std::vector<float> c = product<float>(x, 1);
    CHECK(std::isnan(c[5]));
    CHECK(std::isinf(c[40 + 1]));
    CHECK(std::isfinite(c[40 + 2]));
  }
}

TEST_CASE("gemm: the bits do not depend on the number of threads" *
          doctest::test_suite("slow when emulated")) {
  for (bool ta : {false, true})
    for (bool tb : {false, true}) {
      Problem x = problem(520, 300, 700, ta, tb, DType::f32);
      CHECK(product<float>(x, 1) == product<float>(x, 2));
      CHECK(product<float>(x, 3) == product<float>(x, 2));
      if (cpu_has_bf16()) {
        x.p.precision = MatmulPrecision::bf16;
        CHECK(product<float>(x, 1) == product<float>(x, 2));
        CHECK(product<float>(x, 3) == product<float>(x, 2));
      }
      const Problem y = problem(130, 90, 150, ta, tb, DType::f64);
      CHECK(product<double>(y, 1) == product<double>(y, 2));
    }
}

TEST_CASE("gemm: several threads may multiply at once" * doctest::test_suite("slow when emulated")) {
  std::vector<std::thread> threads;
  std::vector<int> equal(4);
  Problem x = problem(100, 80, 600, false, true, DType::f32);
  if (cpu_has_bf16()) x.p.precision = MatmulPrecision::bf16;
  const std::vector<float> expected = product<float>(x, 1);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&x, &expected, &equal, t] {
      for (int i = 0; i < 20; ++i) equal[t] += product<float>(x, 1) == expected;
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(equal == std::vector<int>{20, 20, 20, 20});
}

TEST_CASE("gemm: serial products equal the definition") {
  const Problem x = problem(37, 41, 43, true, true, DType::f32),
                y = problem(37, 41, 43, true, true, DType::f64);
  cpu::gemm_serial(x.c.data<float>(), x.a.data<float>(), x.b.data<float>(), x.p);
  cpu::gemm_serial(y.c.data<double>(), y.a.data<double>(), y.b.data<double>(), y.p);
  CHECK(y.c.data<double>()[41 * 7 + 9] ==
        doctest::Approx(element(y.p, y.a.data<double>(), y.b.data<double>(), 7, 9, exact)));
  CHECK(tandem::testing::relative_error(x.c, y.c) < 1e-5);
}

TEST_CASE("gemm: precision belongs to the thread and to the scope") {
  CHECK(matmul_precision() == MatmulPrecision::f32);
  if (!cpu_has_bf16()) {
    CHECK_THROWS_WITH_AS(PrecisionScope{MatmulPrecision::bf16}, doctest::Contains("no bf16 instructions"),
                         Error);
    return;
  }
  const PrecisionScope scope(MatmulPrecision::bf16);
  CHECK(matmul_precision() == MatmulPrecision::bf16);
  {
    const PrecisionScope inner(MatmulPrecision::f32);
    CHECK(matmul_precision() == MatmulPrecision::f32);
  }
  CHECK(matmul_precision() == MatmulPrecision::bf16);
  std::thread([] { CHECK(matmul_precision() == MatmulPrecision::f32); }).join();
}

TEST_CASE("gemm: operations are counted, and calls are logged") {
  const GemmFlops before = gemm_flops();
  const Problem x = problem(8, 9, 10, false, true, DType::f32, 3),
                y = problem(8, 9, 10, false, true, DType::f64);
  std::vector<GemmCall> calls;
  {
    const GemmLog log;
    CHECK_THROWS_WITH_AS(GemmLog(), doctest::Contains("one at a time"), Error);
    product<float>(x, 1);
    product<float>(x, 1);
    product<double>(y, 1);
    calls = log.calls();
  }
  product<double>(y, 1);  // the log has ended: counted, not logged
  CHECK(gemm_flops().f32 - before.f32 == 2 * 3 * 2 * 8 * 9 * 10);
  CHECK(gemm_flops().f64 - before.f64 == 2 * 2 * 8 * 9 * 10);
  CHECK(gemm_flops().bf16 == before.bf16);
  REQUIRE(calls.size() == 2);
  CHECK(calls[0].count == 6);
  CHECK(calls[0].m == 8);
  CHECK(calls[0].n == 9);
  CHECK(calls[0].k == 10);
  CHECK(calls[0].transpose_b);
  CHECK(!calls[0].transpose_a);
  CHECK(calls[1].dtype == DType::f64);
  CHECK(calls[1].count == 1);
}

TEST_CASE("gemm: transpose_into writes or adds the transpose") {
  const Tensor x = random_tensor({33, 18}, DType::f32, 1), y = random_tensor({17, 40}, DType::f32, 2),
               sum = y.clone();
  const int64_t rows = 33, columns = 17;
  cpu::transpose_into(y.data<float>(), 40, false, x.data<float>(), 18, rows, columns);
  cpu::transpose_into(sum.data<float>(), 40, true, x.data<float>(), 18, rows, columns);
  const Tensor before = random_tensor({17, 40}, DType::f32, 2);
  for (int64_t j = 0; j < columns; ++j)
    for (int64_t i = 0; i < 40; ++i) {
      const float old = before.data<float>()[j * 40 + i];
      CHECK(y.data<float>()[j * 40 + i] == (i < rows ? x.data<float>()[i * 18 + j] : old));
      CHECK(sum.data<float>()[j * 40 + i] == (i < rows ? old + x.data<float>()[i * 18 + j] : old));
    }
}
