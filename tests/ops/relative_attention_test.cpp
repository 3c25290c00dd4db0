// relative_attention against the definition: distances, clamps, masks, heads, dropout, block borders, memory, bf16;
// and against causal_attention, which is a special case of it.
#include "tandem/ops/relative_attention.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/error.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/gemm/log.h"
#include "tandem/ops/reference/relative_attention.h"
#include "tests/support/attention_kernels.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/precision_modes.h"
#include "tests/support/same_bits.h"
#include "tests/support/signatures.h"
#include "tests/support/threads.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

constexpr DropoutKey kKey{5, 2, 9};

Tensor definition(const Tensors& x, const AttentionOptions& options) {
  return reference::relative_attention(x[0], x[1], x[2], x[3], x[4], options);
}

struct Case {
  int64_t queries, memory, positions, batch, width;
  AttentionOptions options = {};

  std::string name() const {
    return "T " + std::to_string(queries) + ", M " + std::to_string(memory) + ", P " +
           std::to_string(positions) + ", B " + std::to_string(batch) + ", D " + std::to_string(width) +
           ", heads " + std::to_string(options.heads) + ", window " + std::to_string(options.window) +
           ", dropout " + std::to_string(options.dropout);
  }
  Tensors inputs(DType dtype, uint64_t seed) const {
    return {random_tensor({queries, batch, width}, dtype, seed, -2, 2),
            random_tensor({memory + queries, batch, 2 * width}, dtype, seed + 1, -2, 2),
            random_tensor({positions, width}, dtype, seed + 2, -2, 2),
            random_tensor({width}, dtype, seed + 3), random_tensor({width}, dtype, seed + 4)};
  }
};

Tensor run(const Tensors& x, const AttentionOptions& options) {
  return relative_attention(x[0], x[1], x[2], x[3], x[4], options);
}

// Returns the output and all gradients, copied to the CPU.
Tensors differentiated(const Tensors& inputs, const AttentionOptions& options, const Mode& mode) {
  const PrecisionScope scope(mode.precision, mode.device);
  Tensors x, results;
  for (const Tensor& input : inputs) x.push_back(requires_grad(input.to(mode.device).clone()));
  Tape tape;
  const Tensor y = run(x, options);
  tape.backward({y}, {random_tensor(y.shape(), y.dtype(), 99).to(mode.device)});
  results.push_back(y.to(Device::cpu()));
  for (const Tensor& leaf : x) results.push_back(grad(leaf).to(Device::cpu()));
  return results;
}

const Mode kExact{Device::cpu(), MatmulPrecision::f32};

Tensors in_f64(const Tensors& xs) {
  Tensors wide;
  for (const Tensor& x : xs) wide.push_back(x.to(DType::f64));
  return wide;
}

void check_close(const Tensors& actual, const Tensors& expected, double tolerance) {
  REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    INFO("result ", i);
    CHECK(relative_error(actual[i], expected[i]) < tolerance);
  }
}

}  // namespace

SIGNATURES(relative_attention) {
  add_signature(
      {.op = "relative_attention",
       .function = "relative_attention",
       .sizes = {3, 2, 4, 5},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"q", {n[0], n[1], n[2]}},
                 {"kv", {n[0] + 1, n[1], 2 * n[2]}},
                 {"r", {n[3], n[2]}},
                 {"u", {n[2]}},
                 {"v", {n[2]}}};
       },
       .call = [](const Tensors& x, const Numbers& n) -> Tensors {
         return {relative_attention(
             x[0], x[1], x[2], x[3], x[4],
             {.heads = static_cast<int64_t>(n[0]), .window = static_cast<int64_t>(n[1]), .dropout = n[2]})};
       },
       .numbers = {{"heads", 2, {0, -1, 1, 3, 1e18}},
                   {"window", 0, {-1, 1, 2, 1e18}},
                   {"dropout", 0, {-1, 0.5, 1, NAN}}}});
}

OP_CASES(relative_attention) {
  const std::vector<Case> cases = {
      {1, 0, 1, 1, 1},
      {3, 0, 3, 2, 5},
      {33, 33, 66, 1, 3},
      {33, 7, 40, 2, 6, {.heads = 2}},
      {1, 65, 66, 2, 4, {.heads = 2}},  // a token after a long memory
      {6, 6, 12, 2, 4, {.window = 6}},  // the same length for all queries: M keys
      {20, 5, 25, 3, 8, {.heads = 4, .window = 3}},
      {17, 3, 5, 2, 4},                   // distances clamped among the queries
      {17, 9, 8, 2, 4, {.heads = 2}},     // distances clamped in the memory
      {9, 8, 30, 1, 3},                   // more positions than there are distances
      {20, 15, 9, 1, 4, {.window = 9}},   // the window ends just before the clamp
      {20, 15, 9, 1, 4, {.window = 10}},  // and just in it
      {9, 4, 13, 2, 6, {.heads = 3, .dropout = 0.3, .key = kKey}},
      {12, 9, 7, 2, 4, {.heads = 2, .window = 11, .dropout = 0.5, .key = kKey}},
      {65, 70, 135, 1, 2, {.window = 40, .dropout = 0.2, .key = kKey}},
      // Numbers of queries around the 128 of a block.
      {128, 0, 128, 1, 2},
      {129, 3, 132, 2, 4, {.heads = 2}},
      {257, 3, 100, 1, 4, {.window = 129}},
      {3, 1499, 1001, 1, 8, {.dropout = 0.2, .key = kKey}}};  // rows that several blocks of a GPU share
  for (const Case& at : cases)
    add_op_case(
        {.op = "relative_attention",
         .name = at.name(),
         .inputs = [at](DType dtype, uint64_t seed) { return at.inputs(dtype, seed); },
         .run = [options = at.options](const Tensors& x) -> Tensors { return {run(x, options)}; },
         .reference = [options = at.options](const Tensors& x) -> Tensors {
           return {definition(x, options)};
         },
         .weights = {3, 4},
         // q + u and q + v are rounded, and small elements of dv are sums of large ones, since dS sums to 0
         .tolerance_bf16 = 4e-2});
}

TEST_CASE(
    "relative_attention: every precision equals the definition to its rounding, around blocks and panels" *
    doctest::test_suite("slow when emulated")) {
  const std::vector<Case> cases = {{1, 0, 1, 2, 1},
                                   {127, 0, 127, 2, 40},
                                   {128, 1, 129, 2, 64},
                                   {129, 62, 65, 2, 65},
                                   {200, 200, 400, 2, 66, {.heads = 2, .window = 200}},
                                   {150, 30, 100, 2, 130, {.window = 70, .dropout = 0.25, .key = kKey}},
                                   {257, 10, 64, 2, 16, {.heads = 4}},
                                   {2, 300, 200, 2, 16, {.heads = 2}}};
  for (const Case& at : cases) {
    INFO(at.name());
    const Tensors inputs = at.inputs(DType::f32, 1);
    const Tensors exact = differentiated(in_f64(inputs), at.options, kExact);
    CHECK(relative_error(exact[0], definition(in_f64(inputs), at.options)) < 1e-12);
    for (const Mode& mode : modes()) {
      INFO(mode.device.str(), ", precision ", static_cast<int>(mode.precision));
      check_close(differentiated(inputs, at.options, mode), exact, mode.exact() ? 1e-5 : 2e-2);
    }
  }
}

// Returns the results of the kernels for the inputs q, kv and r.
Tensors run_kernels(const Tensors& x, const AttentionOptions& options, Device device,
                    const AttentionTuning& tuning = {}) {
  return run_attention_kernels(x[0], x[1], x[2], device, {options, MatmulPrecision::f32, tuning});
}

TEST_CASE("relative_attention: results of a GPU equal those of the CPU, however it cuts batch and queries") {
  if (!has_cuda()) return;
  struct Cut {
    Case at;
    int64_t scores;
  };
  const std::vector<Cut> cuts = {
      {{300, 100, 400, 2, 8, {.dropout = 0.1, .key = kKey}}, 1},  // one batch item at a time; blocks of 128
      {{300, 101, 150, 2, 8, {.heads = 2}}, 1},                   // clamped in every block
      {{300, 99, 450, 1, 10, {.window = 70}}, 1},                 // a window that leaves gaps
      {{300, 250, 200, 1, 8, {.heads = 2, .window = 300}}, 1},    // a window beyond the clamp
      {{260, 100, 360, 3, 8, {.dropout = 0.1, .key = kKey}}, 110000},  // two batch items, then one
      {{3, 3001, 3004, 2, 8, {.heads = 2}}, 0},                        // longer and longer rows
      {{3, 3001, 820, 1, 8, {.window = 2900}}, 0},
      {{2, 9001, 9003, 1, 4}, 0}};
  for (const Cut& cut : cuts)
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      INFO(cut.at.name(), ", ", std::string(name_of(dtype)), ", ", cut.scores, " scores at once");
      const Tensors x = cut.at.inputs(dtype, 1);
      check_close(run_kernels(x, cut.at.options, Device::cuda(), blocks_of(cut.scores)),
                  run_kernels(in_f64(x), cut.at.options, Device::cpu()),
                  dtype == DType::f64   ? 1e-12
                  : dtype == DType::f32 ? 1e-5
                                        : 2e-2);
    }
}

TEST_CASE("relative_attention: scores in bf16 on a GPU are as near as all results in bf16, others the same") {
  if (!has_cuda()) return;
  const std::vector<Case> cases = {{300, 100, 400, 2, 8, {.dropout = 0.1, .key = kKey}},
                                   {300, 99, 450, 1, 10, {.window = 70}},
                                   {3, 3001, 820, 1, 8, {.window = 2900}},
                                   {2, 9001, 9003, 1, 4}};
  const AttentionTuning in_bf16{.bf16_scores = true};
  for (const Case& at : cases)
    for (const DType dtype : {DType::f32, DType::bf16}) {
      INFO(at.name(), ", ", std::string(name_of(dtype)));
      const Tensors x = at.inputs(dtype, 1);
      const Tensors plain = run_kernels(x, at.options, Device::cuda()),
                    rounded = run_kernels(x, at.options, Device::cuda(), in_bf16);
      for (size_t i = 0; i < plain.size(); ++i)
        CHECK(same_bits(plain[i], rounded[i]) == (dtype != DType::bf16));
      check_close(rounded, run_kernels(in_f64(x), at.options, Device::cpu()),
                  dtype == DType::f32 ? 1e-5 : 3e-2);
    }
}

TEST_CASE("relative_attention: the bits do not depend on the number of threads" *
          doctest::test_suite("slow when emulated")) {
  const AttentionOptions options{2, 150, 0.1, kKey};
  for (const Mode& mode : modes()) {
    if (mode.device.is_cuda()) continue;  // tests/ops/cuda_operators_test.cpp
    for (int64_t batch : {1, 3, 9}) {
      const Tensors inputs = Case{300, 100, 120, batch, 64}.inputs(DType::f32, 1);
      const auto with = [&inputs, &options, mode](int threads) {
        const Threads use(threads);
        return differentiated(inputs, options, mode);
      };
      const Tensors one = with(1), three = with(3);
      for (size_t i = 0; i < one.size(); ++i) CHECK(one[i].to_vector<float>() == three[i].to_vector<float>());
    }
  }
}

TEST_CASE("relative_attention: with positions of zero, or one for all, it equals causal_attention of q + u") {
  const AttentionOptions options{.heads = 2, .window = 20, .dropout = 0.2, .key = kKey};
  for (const Device device : test_devices()) {
    Tensors inputs = Case{40, 10, 50, 2, 8}.inputs(DType::f64, 1);
    inputs[2] = zeros({50, 8}, DType::f64);
    const Tensors actual = differentiated(inputs, options, {device, {}});
    Tensors x;
    for (size_t i : {0, 1, 3}) x.push_back(requires_grad(inputs[i].to(device).clone()));
    Tape tape;
    const Tensor y = causal_attention(add(x[0], x[2]), x[1], options);
    tape.backward({y}, {random_tensor(y.shape(), y.dtype(), 99).to(device)});
    check_close({actual[0], actual[1], actual[2], actual[4]}, {y, grad(x[0]), grad(x[1]), grad(x[2])}, 1e-13);
    CHECK(relative_error(actual[5], zeros({8}, DType::f64)) == 0);  // v is multiplied by zero
    inputs[2] = random_tensor({1, 8}, DType::f64, 7);               // adds the same to all scores of a query
    const Tensors with_one = differentiated(inputs, options, {device, {}});
    check_close({with_one[0], with_one[1], with_one[2], with_one[4]}, {y, grad(x[0]), grad(x[1]), grad(x[2])},
                1e-12);
    CHECK(relative_error(with_one[3], zeros({1, 8}, DType::f64)) < 1e-12);
    CHECK(relative_error(actual[3], zeros({50, 8}, DType::f64)) > 0.01);
  }
}

TEST_CASE("relative_attention: farther distances use the last of P rows, whose gradient is their sum") {
  const AttentionOptions options{.heads = 2};
  for (const Device device : test_devices()) {
    Tensors clamped = Case{40, 20, 25, 2, 8}.inputs(DType::f64, 1), all = clamped;
    all[2] = tensor_from({60, 8}, [r = clamped[2]](int64_t i) {
      return r.data<double>()[std::min<int64_t>(i / 8, 24) * 8 + i % 8];
    });
    const Tensors short_r = differentiated(clamped, options, {device, {}});
    Tensors long_r = differentiated(all, options, {device, {}});
    long_r[3] = tensor_from({25, 8}, [dr = long_r[3]](int64_t i) {
      double sum = dr.data<double>()[i];
      for (int64_t n = i + 8; i / 8 == 24 && n < dr.numel(); n += 8) sum += dr.data<double>()[n];
      return sum;
    });
    check_close(short_r, long_r, 1e-13);
  }
}

TEST_CASE("relative_attention: two segments with memory equal one long pass, also with partial memory") {
  const Case at{160, 0, 160, 2, 32};
  for (const Mode& mode : modes())
    for (int64_t window : {0, 50}) {
      const PrecisionScope scope(mode.precision, mode.device);
      Tensors x;
      for (const Tensor& input : at.inputs(DType::f32, 1)) x.push_back(input.to(mode.device));
      const AttentionOptions options{.heads = 2, .window = window};
      const Tensor whole = run(x, options).to(Device::cpu());
      const auto segment = [&x, &options](int64_t begin, int64_t end) {
        return run({x[0].view_rows(begin, end), x[1].view_rows(0, end), x[2], x[3], x[4]}, options)
            .to(Device::cpu());
      };
      const double tolerance = mode.exact() ? 2e-6 : 1e-2;
      CHECK(relative_error(segment(0, 70), whole.view_rows(0, 70)) < tolerance);
      CHECK(relative_error(segment(70, 159), whole.view_rows(70, 159)) < tolerance);
      CHECK(relative_error(segment(159, 160), whole.view_rows(159, 160)) < tolerance);
    }
}

TEST_CASE(
    "relative_attention: keys outside the window and distances that do not occur have a gradient of zero") {
  for (const Device device : test_devices()) {
    const Tensors x = Case{2, 28, 40, 1, 4}.inputs(DType::f32, 1);
    const Tensors results = differentiated(x, {.window = 3}, {device, {}});
    const std::vector<float> dkv = results[2].to_vector<float>(), dr = results[3].to_vector<float>();
    for (size_t i = 0; i < dkv.size(); ++i) CHECK((dkv[i] != 0) == (i >= 26 * 8));
    for (size_t i = 0; i < dr.size(); ++i) CHECK((dr[i] != 0) == (i < 3 * 4));
  }
}

TEST_CASE("relative_attention: empty queries give an empty result") {
  for (const Device device : test_devices()) {
    const Tensors nothing = differentiated(Case{0, 3, 3, 2, 4}.inputs(DType::f32, 1), {}, {device, {}});
    CHECK(nothing[0].numel() == 0);
    for (size_t i = 1; i < nothing.size(); ++i)
      for (const float value : nothing[i].to_vector<float>()) CHECK(value == 0);
  }
}

TEST_CASE("relative_attention: the masked triangle is not computed, neither for keys nor for distances") {
  const auto flops = [](int64_t window) {
    const Tensors x = Case{512, 0, 512, 1, 32}.inputs(DType::f32, 1);
    const int64_t before = gemm_flops().f32;
    run(x, {.window = window});
    return static_cast<double>(gemm_flops().f32 - before) / (3 * 2 * 512 * 512 * 32);
  };
  CHECK(flops(0) < 0.63);
  CHECK(flops(64) < 0.38);
}

TEST_CASE("relative_attention: neither weights nor biased queries are stored") {
  Tensors x = Case{256, 0, 256, 1, 8}.inputs(DType::f32, 1);
  for (Tensor& input : x) requires_grad(input);
  Tape tape;
  run(x, {});
  CHECK(tape.dump().find("9216 B") != std::string::npos);  // the output and one number per query
}

TEST_CASE("relative_attention: errors name the shapes and the reason") {
  const auto f32 = [](Shape shape) { return zeros(shape, DType::f32); };
  const Tensor q = f32({4, 2, 8}), kv = f32({6, 2, 16}), r = f32({6, 8}), bias = f32({8});
  const auto error = [](const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& d, const Tensor& e,
                        const AttentionOptions& options = {}) {
    return error_of([&] { relative_attention(a, b, c, d, e, options); });
  };
  CHECK(error(f32({4, 8}), kv, r, bias, bias) ==
        "relative_attention: q is f32 (4, 8) on cpu; it must be (T, B, D)");
  CHECK(error(q, f32({6, 2, 8}), r, bias, bias) ==
        "relative_attention: q is (4, 2, 8), kv is (6, 2, 8); it must be (rows, 2, 16): keys "
        "and values side by side");
  CHECK(contains(error(q, f32({3, 2, 16}), r, bias, bias), "relative_attention: 3 keys in kv for 4 queries"));
  CHECK(contains(error(q, kv, r, bias, bias, {.heads = 3}), "3 heads do not divide the width 8"));
  CHECK(contains(error(q, kv, r, bias, bias, {.window = -1}), "relative_attention: window -1"));
  CHECK(contains(error(q, kv, r, bias, bias, {.dropout = 1}), "relative_attention: dropout 1"));
  for (const Tensor& wrong : {f32({6, 4}), f32({0, 8}), f32({6, 2, 8})})
    CHECK(error(q, kv, wrong, bias, bias) ==
          "relative_attention: r is " + wrong.shape().str() +
              "; it must be (P, 8), a row for each distance, P at least 1");
  CHECK(
      error(q, kv, r.to(DType::f64), bias, bias) ==
      "relative_attention: q is f32 (4, 2, 8) on cpu, r is f64 (6, 8) on cpu; they must have one dtype and one device");
  CHECK(error(q, kv, r, f32({4}), bias) == "relative_attention: u is (4); it must be (8)");
  CHECK(error(q, kv, r, bias, f32({2, 4})) == "relative_attention: v is (2, 4); it must be (8)");
  CHECK(
      error(q, kv, r, bias, bias.to(DType::f64)) ==
      "relative_attention: q is f32 (4, 2, 8) on cpu, v is f64 (8) on cpu; they must have one dtype and one device");
}
