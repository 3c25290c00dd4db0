// RepeatedGemm: every way of storing B against gemm(), in bf16 against rounded operands; the same bits for any
// number of threads.
#include "tandem/ops/gemm/repeated.h"

#include <doctest/doctest.h>

#include <cstring>

#include "tandem/core/error.h"
#include "tests/support/op_cases.h"
#include "tests/support/threads.h"

namespace tandem::testing {
namespace {

struct Problem {
  Gemm p;
  Tensor a, b, c;
};

// Makes operands with gaps between their rows.
Problem problem(int64_t m, int64_t n, int64_t k, bool transpose_b, bool accumulate, DType dtype) {
  Problem x;
  x.p = {.m = m,
         .n = n,
         .k = k,
         .transpose_b = transpose_b,
         .lda = k + 3,
         .ldb = (transpose_b ? k : n) + 1,
         .ldc = n + 2,
         .accumulate = accumulate};
  x.a = random_tensor({m, x.p.lda}, dtype, 1);
  x.b = random_tensor({transpose_b ? n : k, x.p.ldb}, dtype, 2);
  x.c = random_tensor({m, x.p.ldc}, dtype, 3);
  return x;
}

// Returns C after a first product with other values, which must not affect the second.
template <class T>
Tensor repeated(const Problem& x) {
  const cpu::RepeatedGemm<T> product(x.b.data<T>(), x.p);
  const Tensor c = x.c.clone(), other = random_tensor(x.a.shape(), x.a.dtype(), 4), unused = x.c.clone();
  product.run(unused.data<T>(), other.data<T>());
  product.run(c.data<T>(), x.a.data<T>());
  return c;
}

template <class T>
Tensor once(const Problem& x) {
  const Tensor c = x.c.clone();
  cpu::gemm(c.data<T>(), x.a.data<T>(), x.b.data<T>(), x.p);
  return c;
}

template <class F>
void for_problems(DType dtype, const F& check) {
  for (const int64_t m : {1, 3, 33})
    for (const int64_t n : {1, 65, 700})
      for (const int64_t k : {1, 33, 600})
        for (const bool transpose_b : {false, true})
          for (const bool accumulate : {false, true}) {
            INFO(m, " x ", n, " x ", k, ", transpose_b ", transpose_b, ", accumulate ", accumulate);
            check(problem(m, n, k, transpose_b, accumulate, dtype));
          }
}

}  // namespace

TEST_CASE("RepeatedGemm: products equal those of gemm(), and gaps of C are left alone") {
  for_problems(DType::f64,
               [](const Problem& x) { CHECK(relative_error(repeated<double>(x), once<double>(x)) == 0); });
  for_problems(DType::f32,
               [](const Problem& x) { CHECK(relative_error(repeated<float>(x), once<float>(x)) < 1e-5); });
}

TEST_CASE("RepeatedGemm: products in bf16 equal those of rounded operands") {
  if (!cpu_has_bf16()) {
    MESSAGE("skipped: this CPU has no bf16 instructions that oneDNN can use");
    return;
  }
  for_problems(DType::f32, [](Problem x) {
    x.p.precision = MatmulPrecision::bf16;
    const Tensor c = repeated<float>(x);
    x.p.precision = MatmulPrecision::f32;
    for (Tensor* operand : {&x.a, &x.b}) *operand = operand->to(DType::bf16).to(DType::f32);
    CHECK(relative_error(c, once<float>(x)) < 1e-5);
  });
}

TEST_CASE("RepeatedGemm: products have the same bits for any number of threads") {
  for (const MatmulPrecision precision : {MatmulPrecision::f32, MatmulPrecision::bf16}) {
    if (precision == MatmulPrecision::bf16 && !cpu_has_bf16()) continue;
    for (const bool transpose_b : {false, true}) {
      Problem x = problem(16, 700, 600, transpose_b, true, DType::f32);
      x.p.precision = precision;
      const Tensor expected = repeated<float>(x);
      for (const int count : {1, 2, 3}) {
        const Threads threads(count);
        const Tensor c = repeated<float>(x);
        CHECK(std::memcmp(c.raw(), expected.raw(), c.nbytes()) == 0);
      }
    }
  }
}

}  // namespace tandem::testing
