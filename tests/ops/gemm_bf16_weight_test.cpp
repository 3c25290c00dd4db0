// Weights packed in bf16: products equal the definition on rounded operands for any number of rows; when a leaf
// keeps a packed form, and that every write drops it.
#include "tandem/ops/gemm/bf16_weight.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>

#include "tandem/autograd/leaf.h"
#include "tandem/core/array.h"
#include "tandem/models/training/optimizer.h"
#include "tandem/ops/gemm/few_rows.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/support/weight_cache.h"
#include "tests/support/errors.h"
#include "tests/support/give_gradient.h"
#include "tests/support/op_cases.h"
#include "tests/support/threads.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

double rounded(float x) {
  return static_cast<float>(bf16(x));
}

// Returns the numbers of rows to test. Without bf16 in oneDNN only products of few rows run.
std::vector<int64_t> row_counts() {
  std::vector<int64_t> rows = {0, 1, 2, 3, cpu::kFewPanelRows};
  if (cpu_has_bf16()) rows.insert(rows.end(), {5, 6, 7, 8, 9, 32, cpu::kMostKeptRows});
  return rows;
}

struct Product {
  int64_t rows, in, out, gap;
  Gemm p = {.m = rows,
            .n = out,
            .k = in,
            .transpose_b = true,
            .lda = in + gap,
            .ldb = in,
            .ldc = out + gap,
            .precision = MatmulPrecision::bf16};
  Tensor x = random_tensor({rows + 1, p.lda}, DType::f32, 1), w = random_tensor({out, in}, DType::f32, 2),
         y = random_tensor({rows + 1, p.ldc}, DType::f32, 3), bias = random_tensor({out}, DType::f32, 4);

  double expected(int64_t i, int64_t j) const {
    double sum = 0;
    for (int64_t k = 0; k < in; ++k)
      sum += rounded(x.data<float>()[i * p.lda + k]) * rounded(w.data<float>()[j * in + k]);
    return sum;
  }
};

}  // namespace

TEST_CASE(
    "bf16 weight: products equal the definition on rounded operands, with bias, accumulation and gaps") {
  for (const int64_t rows : row_counts())
    for (const std::array<int64_t, 3>& sizes :
         std::vector<std::array<int64_t, 3>>{{1, 1, 0}, {31, 65, 3}, {480, 300, 0}, {1037, 63, 1}})
      for (int variant = 0; variant < 4; ++variant) {
        const int64_t in = sizes[0], out = sizes[1], gap = sizes[2];
        Product at{rows, in, out, gap};
        at.p.accumulate = variant & 1;
        CAPTURE(rows);
        CAPTURE(in);
        CAPTURE(out);
        CAPTURE(variant);
        const Tensor y = at.y.clone();
        cpu::gemm_bf16_weight(y.data<float>(), at.x.data<float>(), at.p, Bf16Weight(at.w),
                              variant & 2 ? at.bias.data<float>() : nullptr);
        double worst = 0;
        for (int64_t i = 0; i < y.numel(); ++i) {
          const int64_t row = i / at.p.ldc, j = i % at.p.ldc;
          const double before = at.y.data<float>()[i];
          const double expected = row < rows && j < out ? at.expected(row, j) + (variant & 1 ? before : 0) +
                                                              (variant & 2 ? at.bias.data<float>()[j] : 0)
                                                        : before;
          worst = std::max(worst, std::fabs(y.data<float>()[i] - expected));
        }
        CHECK(worst <= 2e-6 * std::sqrt(static_cast<double>(in) + 1));
      }
}

TEST_CASE(
    "bf16 weight: bf16 results are the rounded f32 results, and bits do not depend on the number of threads") {
  for (const int64_t rows : row_counts()) {
    if (rows == 0) continue;
    const Product at{rows, 333, 700, 0};
    const Bf16Weight weight(at.w);
    const auto run = [&](int threads) {
      const Threads use(threads);
      const Tensor y({rows, 700}, DType::f32);
      cpu::gemm_bf16_weight(y.data<float>(), at.x.data<float>(), at.p, weight);
      return y.to_vector<float>();
    };
    const std::vector<float> y = run(1);
    CHECK(run(2) == y);
    CHECK(run(3) == y);
    const Tensor in_bf16({rows, 700}, DType::bf16);
    cpu::gemm_bf16_weight(in_bf16.data<bf16>(), at.x.data<float>(), at.p, weight);
    for (size_t i = 0; i < y.size(); ++i) REQUIRE(in_bf16.data<bf16>()[i].bits == bf16(y[i]).bits);
  }
}

TEST_CASE(
    "bf16 weight: a leaf keeps it while the thread generates in bf16, and every write makes a new one") {
  const Tensor w = requires_grad(random_tensor({70, 40}, DType::f32, 1));
  CHECK(bf16_form(w, 1, MatmulPrecision::bf16) == nullptr);
  std::shared_ptr<const Bf16Weight> form;
  {
    const GenerationScope generation;
    CHECK(bf16_form(w, 1, MatmulPrecision::f32) == nullptr);
    CHECK(bf16_form(w.detach(), 1, MatmulPrecision::bf16) == nullptr);
    CHECK(bf16_form(w, cpu::kMostKeptRows + 1, MatmulPrecision::bf16) == nullptr);
    const auto now = [&w] { return bf16_form(w, 1, MatmulPrecision::bf16); };
    form = now();
    REQUIRE(form != nullptr);
    CHECK(now() == form);
    const auto write_and_see = [&](const auto& write) {
      write();
      const auto next = now();
      CHECK(next != form);
      CHECK(next->packed.to_vector<bf16>()[0].bits == bf16(w.data<float>()[0]).bits);
      CHECK(now() == next);
      form = next;
    };
    write_and_see([&w] { fill(w, 3); });
    write_and_see([&w] { copy(w, random_tensor({70, 40}, DType::f32, 2)); });
    write_and_see([&w] { copy(w.view_rows(0, 1), full({1, 40}, 5, DType::f32)); });
    Optimizer optimizer({{"w", w}}, {});
    write_and_see([&] {
      give_gradient(w, full({70, 40}, 1, DType::f32));
      optimizer.step(0.1);
      CHECK(form.use_count() == 1);  // the leaf has let it go: training does not carry it along
    });
  }
  CHECK(bf16_form(w, 1, MatmulPrecision::bf16) == nullptr);
}

TEST_CASE("bf16 weight: linear multiplies by it, with the values written last") {
  if (!cpu_has_bf16()) {
    MESSAGE("skipped: this CPU has no bf16");
    return;
  }
  const PrecisionScope precision(MatmulPrecision::bf16);
  const Tensor w = requires_grad(random_tensor({130, 70}, DType::f32, 1)),
               bias = random_tensor({130}, DType::f32, 2);
  for (const int64_t rows : {1, 20}) {
    const Tensor x = random_tensor({rows, 70}, DType::f32, 3);
    for (uint64_t round = 0; round < 3; ++round) {
      const Tensor packed_anew = linear(x, w, bias), bf16_anew = linear_bf16_out(x, w);
      const GenerationScope generation;
      CHECK(relative_error(linear(x, w, bias), packed_anew) < 1e-6);
      const Tensor kept = linear_bf16_out(x, w);
      CHECK(kept.dtype() == DType::bf16);
      CHECK(relative_error(kept.to(DType::f32), bf16_anew.to(DType::f32)) < 1e-2);
      CHECK(w.node()->extension != nullptr);  // the packed form
      copy(w, random_tensor({130, 70}, DType::f32, 10 + round));
    }
  }
}

TEST_CASE("bf16 weight: errors name the sizes and the reason") {
  CHECK(contains(error_of([] { const Bf16Weight bad(zeros({3}, DType::f32)); }), "must be f32 (out, in)"));
  const Bf16Weight weight(zeros({3, 4}, DType::f32));
  Gemm p = {.m = 1, .n = 3, .k = 5, .transpose_b = true, .lda = 5, .ldb = 5, .ldc = 3};
  CHECK(contains(error_of([&] { cpu::gemm_bf16_weight(static_cast<float*>(nullptr), nullptr, p, weight); }),
                 "by a bf16 weight (3, 4)"));
  p.k = 4;
  p.accumulate = true;
  CHECK(contains(error_of([&] { cpu::gemm_bf16_weight(static_cast<bf16*>(nullptr), nullptr, p, weight); }),
                 "cannot be accumulated"));
}
