// causal_attention and attend_cached against the definition: masks, heads, dropout, block borders, memory,
// bf16.
#include "ops/attention.h"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/tape.h"
#include "core/error.h"
#include "tests/op_cases.h"
#include "tests/threads.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

// The definition, query by query, in f64; dropout through the public mask.
Tensor naive_attention(const Tensor& q, const Tensor& kv, const AttentionOptions& options) {
  const int64_t queries = q.size(0), batch = q.size(1), width = q.size(2), keys = kv.size(0),
                head = width / options.heads;
  const int64_t memory = keys - queries;
  const Tensor mask = dropout_mask({batch, options.heads, queries, keys}, options.dropout, DType::f64,
                                   Device::cpu(), options.key);
  Tensor y = zeros(q.shape(), DType::f64);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < options.heads; ++h)
      for (int64_t t = 0; t < queries; ++t) {
        const auto key = [&kv, batch, width, head, b, h](int64_t j, int64_t i) {
          return kv.data<double>() + (j * batch + b) * 2 * width + h * head + i;
        };
        std::vector<double> weights(static_cast<size_t>(keys));
        double total = 0;
        for (int64_t j = 0; j < keys; ++j) {
          if (j > memory + t || (options.window > 0 && j <= memory + t - options.window)) continue;
          double score = 0;
          for (int64_t i = 0; i < head; ++i)
            score += q.data<double>()[(t * batch + b) * width + h * head + i] * *key(j, i);
          weights[j] = std::exp(score / std::sqrt(static_cast<double>(head)));
          total += weights[j];
        }
        for (int64_t j = 0; j < keys; ++j)
          for (int64_t i = 0; i < head; ++i)
            y.data<double>()[(t * batch + b) * width + h * head + i] +=
                weights[j] / total * mask.data<double>()[((b * options.heads + h) * queries + t) * keys + j] *
                *key(j, width + i);
      }
  return y;
}

std::string name_of(int64_t queries, int64_t memory, int64_t batch, int64_t width,
                    const AttentionOptions& options) {
  return "T " + std::to_string(queries) + ", M " + std::to_string(memory) + ", B " + std::to_string(batch) +
         ", D " + std::to_string(width) + ", heads " + std::to_string(options.heads) + ", window " +
         std::to_string(options.window) + ", dropout " + std::to_string(options.dropout);
}

void add_attention_case(int64_t queries, int64_t memory, int64_t batch, int64_t width,
                        const AttentionOptions& options) {
  add_op_case(
      {.op = "attention",
       .name = name_of(queries, memory, batch, width, options),
       .inputs = [queries, memory, batch, width](DType dtype, uint64_t seed) -> Tensors {
         return {random_tensor({queries, batch, width}, dtype, seed, -2, 2),
                 random_tensor({memory + queries, batch, 2 * width}, dtype, seed + 1, -2, 2)};
       },
       .run = [options](const Tensors& x) -> Tensors { return {causal_attention(x[0], x[1], options)}; },
       .reference = [options](const Tensors& x) -> Tensors {
         return {naive_attention(x[0], x[1], options)};
       }});
}

// Output, dq and dkv.
Tensors run_attention(const Tensor& q, const Tensor& kv, const AttentionOptions& options,
                      MatmulPrecision precision) {
  const PrecisionScope scope(precision);
  const Tensor leaf_q = requires_grad(q.clone()), leaf_kv = requires_grad(kv.clone());
  Tape tape;
  const Tensor y = causal_attention(leaf_q, leaf_kv, options);
  tape.backward({y}, {random_tensor(q.shape(), q.dtype(), 99)});
  return {y, grad(leaf_q), grad(leaf_kv)};
}

std::vector<MatmulPrecision> precisions() {
  if (cpu_has_bf16()) return {MatmulPrecision::f32, MatmulPrecision::bf16};
  MESSAGE("skipped in bf16: this CPU has none");
  return {MatmulPrecision::f32};
}

constexpr DropoutKey kKey{7, 3, 11};

}  // namespace

OP_CASES(attention) {
  add_attention_case(1, 0, 1, 1, {});
  add_attention_case(3, 0, 2, 5, {});
  add_attention_case(33, 33, 1, 3, {});
  add_attention_case(33, 7, 2, 6, {.heads = 2});
  add_attention_case(6, 6, 2, 4, {.window = 7});
  add_attention_case(20, 5, 3, 8, {.heads = 4, .window = 3});
  add_attention_case(17, 2, 1, 4, {.window = 1});
  add_attention_case(9, 4, 2, 6, {.heads = 3, .dropout = 0.3, .key = kKey});
  add_attention_case(12, 9, 2, 4, {.heads = 2, .window = 5, .dropout = 0.5, .key = kKey});
  // Around the 128 query rows of a block, and with windows that begin inside one.
  for (int64_t queries : {65, 127, 128, 129, 257}) add_attention_case(queries, 3, 1, 4, {});
  add_attention_case(130, 65, 1, 4, {.heads = 2, .window = 66});
  add_attention_case(260, 3, 1, 2, {.window = 129});
  add_attention_case(65, 70, 1, 2, {.window = 40, .dropout = 0.2, .key = kKey});
}

TEST_CASE("attention: bf16 equals the definition to its rounding, around its blocks and panels") {
  struct Case {
    int64_t queries, memory, width, heads, window;
    double dropout;
  };
  const std::vector<Case> cases = {
      {1, 0, 1, 1, 0, 0},        {127, 0, 40, 1, 0, 0},       {128, 1, 64, 1, 0, 0}, {129, 62, 65, 1, 0, 0},
      {200, 200, 66, 2, 201, 0}, {150, 30, 130, 1, 70, 0.25}, {257, 10, 16, 4, 5, 0}};
  for (MatmulPrecision precision : precisions())
    for (const auto& [queries, memory, width, heads, window, dropout] : cases) {
      const AttentionOptions options{heads, window, dropout, kKey};
      const std::string name = name_of(queries, memory, 2, width, options);
      CAPTURE(name);
      const Tensor q = random_tensor({queries, 2, width}, DType::f32, 1, -2, 2);
      const Tensor kv = random_tensor({memory + queries, 2, 2 * width}, DType::f32, 2, -2, 2);
      const Tensors result = run_attention(q, kv, options, precision);
      CHECK(relative_error(result[0], naive_attention(q.to(DType::f64), kv.to(DType::f64), options)) <
            (precision == MatmulPrecision::bf16 ? 2e-2 : 1e-5));
      const Tensors exact = run_attention(q.to(DType::f64), kv.to(DType::f64), options, precision);
      for (size_t i = 1; i < 3; ++i)
        CHECK(relative_error(result[i], exact[i]) < (precision == MatmulPrecision::bf16 ? 2e-2 : 1e-5));
    }
}

TEST_CASE("attention: the bits do not depend on the number of threads") {
  const AttentionOptions options{2, 150, 0.1, kKey};
  for (MatmulPrecision precision : precisions())
    for (int64_t batch : {1, 3, 9}) {
      const Tensor q = random_tensor({300, batch, 64}, DType::f32, 1),
                   kv = random_tensor({400, batch, 128}, DType::f32, 2);
      const auto run = [&q, &kv, &options, precision](int threads) {
        const Threads use(threads);
        return run_attention(q, kv, options, precision);
      };
      const Tensors one = run(1), three = run(3);
      for (size_t i = 0; i < 3; ++i) CHECK(one[i].to_vector<float>() == three[i].to_vector<float>());
    }
}

TEST_CASE("attention: two segments with memory are one long pass") {
  for (MatmulPrecision precision : precisions())
    for (int64_t window : {0, 50}) {
      const PrecisionScope scope(precision);
      const Tensor q = random_tensor({160, 2, 32}, DType::f32, 1),
                   kv = random_tensor({160, 2, 64}, DType::f32, 2);
      const AttentionOptions options{.heads = 2, .window = window};
      const Tensor whole = causal_attention(q, kv, options);
      const Tensor first = causal_attention(q.alias_rows(0, 70), kv.alias_rows(0, 70), options);
      const Tensor second = causal_attention(q.alias_rows(70, 160), kv, options);
      const double tolerance = precision == MatmulPrecision::bf16 ? 1e-2 : 1e-6;
      CHECK(relative_error(first, whole.alias_rows(0, 70)) < tolerance);
      CHECK(relative_error(second, whole.alias_rows(70, 160)) < tolerance);
    }
}

TEST_CASE("attention: a row that is not finite spoils only what may see it") {
  for (MatmulPrecision precision : precisions()) {
    const PrecisionScope scope(precision);
    const Tensor q = random_tensor({140, 1, 16}, DType::f32, 1),
                 kv = random_tensor({150, 1, 32}, DType::f32, 2);
    kv.data<float>()[32 * 130 + 3] = NAN;  // a key
    const Tensor y = causal_attention(q, kv);
    CHECK(std::isfinite(y.data<float>()[119 * 16]));
    CHECK(std::isnan(y.data<float>()[120 * 16]));
    CHECK(std::isnan(y.data<float>()[139 * 16]));
  }
}

TEST_CASE("attention: large scores do not overflow, and equal scores share equally") {
  const Tensor q = full({3, 1, 4}, 100, DType::f32), kv = full({5, 1, 8}, 100, DType::f32);
  const Tensor y = causal_attention(q, kv);
  for (float value : y.span<float>()) CHECK(value == doctest::Approx(100));
}

TEST_CASE("attention: the masked triangle is not computed") {
  const auto flops = [](int64_t window) {
    const Tensor q = random_tensor({512, 1, 32}, DType::f32, 1),
                 kv = random_tensor({512, 1, 64}, DType::f32, 2);
    const int64_t before = gemm_flops().f32;
    causal_attention(q, kv, {.window = window});
    return static_cast<double>(gemm_flops().f32 - before) / (2 * 2 * 512 * 512 * 32);
  };
  CHECK(flops(0) < 0.63);
  CHECK(flops(64) < 0.38);
}

TEST_CASE("attention: weights are not stored") {
  const Tensor q = requires_grad(random_tensor({256, 1, 8}, DType::f32, 1)),
               kv = requires_grad(random_tensor({256, 1, 16}, DType::f32, 2));
  Tape tape;
  causal_attention(q, kv);
  CHECK(tape.dump().find("9216 B") != std::string::npos);  // the output and one number a query
}

TEST_CASE("attend_cached: the last query of a causal pass, in any order of the rows") {
  for (DType dtype : {DType::f32, DType::f64})
    for (int64_t heads : {1, 3}) {
      constexpr int64_t kValid = 37, kBatch = 3, kWidth = 12;
      const Tensor q = random_tensor({1, kBatch, kWidth}, dtype, 1),
                   kv = random_tensor({kValid, kBatch, 2 * kWidth}, dtype, 2);
      Tensor cache = full({50, kBatch, 2 * kWidth}, NAN, dtype);  // rows beyond `valid` must not be read
      for (int64_t row = 0; row < kValid; ++row) {
        const int64_t place = (row * 5 + 11) % kValid;
        std::copy_n(static_cast<const char*>(kv.alias_rows(row, row + 1).raw()), kv.nbytes() / kValid,
                    static_cast<char*>(cache.alias_rows(place, place + 1).raw()));
      }
      const Tensor expected =
          causal_attention(q, kv, {.heads = heads}).alias_rows(0, 1).alias_shape({kBatch, kWidth});
      const Tensor y = attend_cached(q.alias_shape({kBatch, kWidth}), cache, kValid, heads);
      CHECK(relative_error(y, expected) < (dtype == DType::f64 ? 1e-13 : 1e-6));
    }
}

TEST_CASE("attention: messages") {
  const auto f32 = [](Shape shape) { return zeros(shape, DType::f32); };
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 8}), f32({4, 16})),
                       doctest::Contains("q is f32 (4, 8) on cpu; it must be (T, B, D)"), Error);
  CHECK_THROWS_WITH_AS(
      causal_attention(f32({4, 2, 8}), f32({4, 2, 8})),
      "causal_attention: q is (4, 2, 8), keys and values are (4, 2, 8); they must be (rows, 2, 16): keys and "
      "values side by side",
      Error);
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 2, 8}), f32({3, 2, 16})),
                       doctest::Contains("3 keys for 4 queries"), Error);
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 2, 8}), f32({4, 2, 16}), {.heads = 3}),
                       doctest::Contains("3 heads do not divide the width 8"), Error);
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 2, 8}), f32({4, 2, 16}), {.window = -1}),
                       doctest::Contains("window -1"), Error);
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 2, 8}), f32({4, 2, 16}), {.dropout = 1}),
                       doctest::Contains("dropout 1"), Error);
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 2, 8}), zeros({4, 2, 16}, DType::f64)),
                       doctest::Contains("one floating dtype"), Error);
  CHECK_THROWS_WITH_AS(attend_cached(f32({1, 2, 8}), f32({4, 2, 16}), 1),
                       doctest::Contains("it must be (B, D)"), Error);
  CHECK_THROWS_WITH_AS(attend_cached(f32({2, 8}), f32({4, 2, 16}), 5),
                       doctest::Contains("5 valid rows of a cache of 4"), Error);
  CHECK_THROWS_WITH_AS(attend_cached(f32({2, 8}), f32({4, 2, 16}), 0), doctest::Contains("0 valid rows"),
                       Error);
}
