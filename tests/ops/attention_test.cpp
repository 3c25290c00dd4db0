// causal_attention and attend_cached against the definition: masks, heads, dropout, block borders, memory, bf16.
#include "tandem/ops/attention.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/error.h"
#include "tandem/ops/gemm/log.h"
#include "tandem/ops/reference/attention.h"
#include "tandem/ops/support/weight_cache.h"
#include "tests/support/attention_kernels.h"
#include "tests/support/devices.h"
#include "tests/support/op_cases.h"
#include "tests/support/precision_modes.h"
#include "tests/support/run_op_case.h"
#include "tests/support/signatures.h"
#include "tests/support/threads.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

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
         return {reference::causal_attention(x[0], x[1], options)};
       }});
}

// Returns the output, dq and dkv, copied to the CPU.
Tensors run_attention(const Tensor& q, const Tensor& kv, const AttentionOptions& options, const Mode& mode) {
  const PrecisionScope scope(mode.precision, mode.device);
  const Tensor leaf_q = requires_grad(q.to(mode.device).clone()),
               leaf_kv = requires_grad(kv.to(mode.device).clone());
  const Tensor dy = random_tensor(q.shape(), q.dtype(), 99);
  Tape tape;
  const Tensor y = causal_attention(leaf_q, leaf_kv, options);
  tape.backward({y}, {dy.to(mode.device)});
  return {y.to(Device::cpu()), grad(leaf_q).to(Device::cpu()), grad(leaf_kv).to(Device::cpu())};
}

constexpr DropoutKey kKey{7, 3, 11};

}  // namespace

SIGNATURES(attention) {
  add_signature(
      {.op = "attention",
       .function = "causal_attention",
       .sizes = {3, 2, 4, 1},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"q", {n[0], n[1], n[2]}}, {"kv", {n[3] + n[0], n[1], 2 * n[2]}}};
       },
       .call = [](const Tensors& x, const Numbers& n) -> Tensors {
         return {causal_attention(
             x[0], x[1],
             {.heads = static_cast<int64_t>(n[0]), .window = static_cast<int64_t>(n[1]), .dropout = n[2]})};
       },
       .numbers = {{"heads", 2, {0, -1, 1, 3, 1e18}},
                   {"window", 0, {-1, 1, 2, 1e18}},
                   {"dropout", 0, {-1, 0.5, 1, NAN}}}});
  add_signature({.op = "attention",
                 .function = "attend_cached",
                 .sizes = {2, 4, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"q", {n[0], n[1]}}, {"kv_cache", {n[2], n[0], 2 * n[1]}}};
                 },
                 .call = [](const Tensors& x, const Numbers& n) -> Tensors {
                   return {attend_cached(x[0], x[1], static_cast<int64_t>(n[0]), static_cast<int64_t>(n[1]))};
                 },
                 .numbers = {{"valid", 5, {0, -1, 1, 6, 1e18}}, {"heads", 2, {0, -1, 1, 3, 1e18}}}});
}

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
  // Numbers of queries around the 128 of a block, and windows that begin inside a block.
  for (int64_t queries : {65, 127, 128, 129, 257}) add_attention_case(queries, 3, 1, 4, {});
  add_attention_case(130, 65, 1, 4, {.heads = 2, .window = 66});
  add_attention_case(260, 3, 1, 2, {.window = 129});
  add_attention_case(65, 70, 1, 2, {.window = 40, .dropout = 0.2, .key = kKey});
  add_attention_case(3, 1499, 1, 8,
                     {.dropout = 0.2, .key = kKey});  // rows that several blocks of a GPU share
}

struct Case {
  int64_t queries, memory, batch, width, heads, window;
  double dropout;
  AttentionOptions options() const { return {heads, window, dropout, kKey}; }
  std::string name() const { return name_of(queries, memory, batch, width, options()); }
};

TEST_CASE("attention: every precision equals the definition to its rounding, around blocks and panels" *
          doctest::test_suite("slow when emulated")) {
  const std::vector<Case> cases = {
      {1, 0, 2, 1, 1, 0, 0},
      {127, 0, 2, 40, 1, 0, 0},
      {128, 1, 2, 64, 1, 0, 0},
      {129, 62, 2, 65, 1, 0, 0},
      {200, 200, 2, 66, 2, 201, 0},
      {150, 30, 2, 130, 1, 70, 0.25},
      {257, 10, 2, 16, 4, 5, 0},
      // Backward runs an item as a task, with keys in chunks that blocks see in part.
      {300, 100, 8, 72, 1, 0, 0.1},
      {520, 30, 4, 24, 2, 150, 0}};
  for (const Case& at : cases) {
    const Tensor q = random_tensor({at.queries, at.batch, at.width}, DType::f32, 1, -2, 2);
    const Tensor kv = random_tensor({at.memory + at.queries, at.batch, 2 * at.width}, DType::f32, 2, -2, 2);
    const Tensor expected = reference::causal_attention(q.to(DType::f64), kv.to(DType::f64), at.options());
    const Tensors exact = run_attention(q.to(DType::f64), kv.to(DType::f64), at.options(),
                                        {Device::cpu(), MatmulPrecision::f32});
    for (const Mode& mode : modes()) {
      INFO(at.name(), ", ", mode.device.str(), ", precision ", static_cast<int>(mode.precision));
      const Tensors result = run_attention(q, kv, at.options(), mode);
      const double tolerance = mode.exact() ? 1e-5 : 2e-2;
      CHECK(relative_error(result[0], expected) < tolerance);
      for (size_t i = 1; i < 3; ++i) CHECK(relative_error(result[i], exact[i]) < tolerance);
    }
  }
}

TEST_CASE("attention: results of a GPU equal those of the CPU, however it cuts batch, queries and keys") {
  if (!has_cuda()) return;
  struct Cut {
    Case at;
    int64_t scores;
  };
  const std::vector<Cut> cuts = {
      {{300, 100, 2, 8, 1, 0, 0.1}, 1},       // one batch item at a time; blocks of 128 queries and 128 keys
      {{300, 101, 2, 8, 2, 0, 0.1}, 1},       // dropout masks that do not begin at whole random blocks
      {{300, 99, 1, 10, 1, 70, 0}, 1},        // a window that leaves gaps between the blocks
      {{400, 250, 1, 8, 2, 300, 0.2}, 1},     // keys that no query sees, windows over several blocks
      {{300, 100, 3, 8, 1, 0, 0.1}, 110000},  // two batch items, then one; keys all at once
      {{260, 0, 2, 512, 1, 0, 0}, 110000},    // blocks of queries and keys of several sizes
      {{390, 20, 2, 12, 3, 200, 0}, 200000},  // strided over heads, blocks of 256 queries
      {{3, 1500, 2, 8, 2, 0, 0.2}, 0},        // longer and longer rows
      {{3, 3001, 2, 8, 2, 0, 0.2}, 0},       {{3, 6000, 1, 8, 1, 5000, 0.2}, 0},
      {{2, 9001, 1, 8, 1, 0, 0.2}, 0},       {{2, 9500, 1, 8, 1, 9000, 0}, 0}};
  for (const Cut& cut : cuts)
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const Case& at = cut.at;
      INFO(at.name(), ", ", std::string(name_of(dtype)), ", ", cut.scores, " scores at once");
      const Tensor q = random_tensor({at.queries, at.batch, at.width}, dtype, 1);
      const Tensor kv = random_tensor({at.memory + at.queries, at.batch, 2 * at.width}, dtype, 2);
      const Tensors result = run_attention_kernels(
          q, kv, {}, Device::cuda(), {at.options(), MatmulPrecision::f32, blocks_of(cut.scores)});
      const Tensors exact = run_attention(q.to(DType::f64), kv.to(DType::f64), at.options(),
                                          {Device::cpu(), MatmulPrecision::f32});
      for (size_t i = 0; i < 3; ++i) {
        CHECK(result[i].dtype() == dtype);
        CHECK(relative_error(result[i], exact[i]) < (dtype == DType::f64   ? 1e-12
                                                     : dtype == DType::f32 ? 1e-5
                                                                           : 2e-2));
      }
    }
}

TEST_CASE("attention: the bits do not depend on the number of threads" *
          doctest::test_suite("slow when emulated")) {
  const AttentionOptions options{2, 150, 0.1, kKey};
  for (const Mode& mode : modes()) {
    if (mode.device.is_cuda()) continue;  // tests/ops/cuda_operators_test.cpp
    for (int64_t batch : {1, 3, 9}) {
      const Tensor q = random_tensor({300, batch, 64}, DType::f32, 1),
                   kv = random_tensor({400, batch, 128}, DType::f32, 2);
      const auto run = [&q, &kv, &options, mode](int threads) {
        const Threads use(threads);
        return run_attention(q, kv, options, mode);
      };
      const Tensors one = run(1), three = run(3);
      for (size_t i = 0; i < 3; ++i) CHECK(one[i].to_vector<float>() == three[i].to_vector<float>());
    }
  }
}

TEST_CASE("attention: keys and values stored in bf16 give the same bits as in f32") {
  if (!cpu_has_bf16()) {
    MESSAGE("skipped: this CPU has no bf16");
    return;
  }
  const PrecisionScope scope(MatmulPrecision::bf16);
  for (const AttentionOptions& options : {AttentionOptions{}, AttentionOptions{2, 150, 0.1, kKey}})
    for (const int64_t batch : {1, 9}) {
      const Tensor q = requires_grad(random_tensor({140, batch, 66}, DType::f32, 1));
      const Tensor kv_bf16 = random_tensor({190, batch, 132}, DType::f32, 2).to(DType::bf16);
      Tensors results[2];
      for (const bool kept : {false, true}) {
        const Tensor kv = requires_grad(kept ? kv_bf16.detach() : kv_bf16.to(DType::f32));
        zero_grad(q);
        Tape tape;
        const Tensor y = causal_attention(q, kv, options);
        tape.backward({y}, {random_tensor(y.shape(), DType::f32, 3)});
        CHECK(grad(kv).dtype() == kv.dtype());
        results[kept] = {y, grad(q).clone(), grad(kv).to(DType::bf16)};
      }
      CHECK(same_bits(results[0], results[1]));
    }
}

TEST_CASE("attention: two segments with memory equal one long pass") {
  for (const Mode& mode : modes())
    for (int64_t window : {0, 50}) {
      const PrecisionScope scope(mode.precision, mode.device);
      const Tensor q = random_tensor({160, 2, 32}, DType::f32, 1).to(mode.device),
                   kv = random_tensor({160, 2, 64}, DType::f32, 2).to(mode.device);
      const AttentionOptions options{.heads = 2, .window = window};
      const Tensor whole = causal_attention(q, kv, options).to(Device::cpu());
      const Tensor first = causal_attention(q.view_rows(0, 70), kv.view_rows(0, 70), options);
      const Tensor second = causal_attention(q.view_rows(70, 160), kv, options);
      const double tolerance = mode.exact() ? 1e-6 : 1e-2;
      CHECK(relative_error(first.to(Device::cpu()), whole.view_rows(0, 70)) < tolerance);
      CHECK(relative_error(second.to(Device::cpu()), whole.view_rows(70, 160)) < tolerance);
    }
}

TEST_CASE("attention: a key that is not finite affects only the queries that see it") {
  const Tensor q = random_tensor({140, 1, 16}, DType::f32, 1),
               kv = random_tensor({150, 1, 32}, DType::f32, 2);
  kv.data<float>()[32 * 130 + 3] = NAN;  // a key
  for (const Mode& mode : modes()) {
    const PrecisionScope scope(mode.precision, mode.device);
    const Tensor y = causal_attention(q.to(mode.device), kv.to(mode.device)).to(Device::cpu());
    CHECK(std::isfinite(y.data<float>()[119 * 16]));
    CHECK(std::isnan(y.data<float>()[120 * 16]));
    CHECK(std::isnan(y.data<float>()[139 * 16]));
  }
}

TEST_CASE("attention: large scores do not overflow, and equal scores get equal weights") {
  for (const Device device : test_devices()) {
    const Tensor y =
        causal_attention(full({3, 1, 4}, 100, DType::f32, device), full({5, 1, 8}, 100, DType::f32, device));
    for (const float value : y.to_vector<float>()) CHECK(value == doctest::Approx(100));
  }
}

TEST_CASE(
    "attention: empty queries give an empty result, and keys that no query sees have a gradient of zero") {
  for (const Device device : test_devices()) {
    const Tensors nothing =
        run_attention(zeros({0, 2, 4}, DType::f32), full({3, 2, 8}, 1, DType::f32), {}, {device, {}});
    CHECK(nothing[0].numel() == 0);
    CHECK(nothing[2].to_vector<float>() == std::vector<float>(48, 0));
    const Tensor q = random_tensor({2, 1, 4}, DType::f32, 1), kv = random_tensor({30, 1, 8}, DType::f32, 2);
    const std::vector<float> dkv = run_attention(q, kv, {.window = 3}, {device, {}})[2].to_vector<float>();
    for (size_t i = 0; i < dkv.size(); ++i) CHECK((dkv[i] != 0) == (i >= 26 * 8));
  }
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
  CHECK(tape.dump().find("9216 B") != std::string::npos);  // the output and one number per query
}

TEST_CASE("attend_cached: the result is the last row of a causal pass, for any order of the cache rows") {
  struct Decode {
    int64_t valid, batch, width, heads;
  };
  for (const Decode& at : std::vector<Decode>{{37, 3, 12, 1},
                                              {37, 3, 12, 3},
                                              {1, 2, 8, 1},
                                              {700, 1, 160, 1},
                                              {300, 2, 144, 2},
                                              {64, 1, 480, 1},
                                              {65, 2, 33, 1}}) {
    const int64_t valid = at.valid, batch = at.batch, width = at.width, heads = at.heads;
    const Tensor q = random_tensor({1, batch, width}, DType::f64, 1),
                 kv = random_tensor({valid, batch, 2 * width}, DType::f64, 2);
    Tensor cache =
        full({valid + 13, batch, 2 * width}, NAN, DType::f64);  // rows from `valid` on must not be read
    for (int64_t row = 0; row < valid; ++row) {
      const int64_t place = (row * 31 + 11) % valid;
      std::copy_n(kv.view_rows(row, row + 1).data<double>(), kv.numel() / valid,
                  cache.view_rows(place, place + 1).data<double>());
    }
    for (const Device device : test_devices())
      for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
        // On a CPU only the cache can be in bf16.
        const DType q_dtype = device.is_cpu() ? parameter_dtype(dtype) : dtype;
        INFO(valid, " rows, D ", width, ", heads ", heads, ", ", device.str(), ", ",
             std::string(name_of(dtype)));
        const Tensor expected =
            causal_attention(q.to(q_dtype).to(DType::f64), kv.to(dtype).to(DType::f64), {.heads = heads});
        const Tensor y = attend_cached(q.to(q_dtype).to(device).view_as({batch, width}),
                                       cache.to(dtype).to(device), valid, heads);
        CHECK(y.dtype() == q_dtype);
        CHECK(relative_error(y.to(Device::cpu()), expected.view_as({batch, width})) <
              (q_dtype == DType::f64   ? 1e-13
               : q_dtype == DType::f32 ? 2e-6
                                       : 1e-2));
      }
  }
}

TEST_CASE("attention: errors name the shapes and options") {
  const auto f32 = [](Shape shape) { return zeros(shape, DType::f32); };
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 8}), f32({4, 16})),
                       doctest::Contains("q is f32 (4, 8) on cpu; it must be (T, B, D)"), Error);
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 2, 8}), f32({4, 2, 8})),
                       "causal_attention: q is (4, 2, 8), kv is (4, 2, 8); "
                       "it must be (rows, 2, 16): keys and values side by side",
                       Error);
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 2, 8}), f32({3, 2, 16})),
                       doctest::Contains("3 keys in kv for 4 queries"), Error);
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 2, 8}), f32({4, 2, 16}), {.heads = 3}),
                       doctest::Contains("3 heads do not divide the width 8"), Error);
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 2, 8}), f32({4, 2, 16}), {.window = -1}),
                       doctest::Contains("window -1"), Error);
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 2, 8}), f32({4, 2, 16}), {.dropout = 1}),
                       doctest::Contains("dropout 1"), Error);
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 2, 8}), zeros({4, 2, 16}, DType::f64)),
                       doctest::Contains("one floating dtype"), Error);
  // kv in bf16 with q in f32 needs products in bf16.
  CHECK_THROWS_WITH_AS(causal_attention(f32({4, 2, 8}), zeros({4, 2, 16}, DType::bf16)),
                       doctest::Contains("one floating dtype"), Error);
  CHECK_THROWS_WITH_AS(attend_cached(f32({1, 2, 8}), f32({4, 2, 16}), 1),
                       doctest::Contains("it must be (B, D)"), Error);
  CHECK_THROWS_WITH_AS(attend_cached(f32({2, 8}), f32({4, 2, 16}), 5),
                       doctest::Contains("valid is 5, kv_cache has 4 rows"), Error);
  CHECK_THROWS_WITH_AS(attend_cached(f32({2, 8}), f32({4, 2, 16}), 0), doctest::Contains("valid is 0"),
                       Error);
}
