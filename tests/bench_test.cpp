// The benchmarks as a program: what they check, count and refuse. Nothing here depends on how fast anything
// is.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/caching_allocator.h"
#include "op_names.h"
#include "ops/arithmetic.h"
#include "ops/gemm.h"
#include "ops/matmul.h"
#include "tests/errors.h"
#include "tests/run_tool.h"
#include "tools/support/bench_operators.h"
#include "tools/support/bench_replay.h"
#include "tools/support/bench_report.h"
#include "tools/support/bench_step.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

using Tensors = std::vector<Tensor>;

BenchSizes small_sizes() {
  BenchSizes overrides;
  overrides.unroll = 12;
  overrides.batch_size = 3;
  overrides.d = 40;
  overrides.d_projected = 16;
  overrides.heads = 2;
  overrides.vocabulary = 7;
  return bench_sizes("laptop", overrides);
}

std::vector<MatmulPrecision> precisions() {
  if (!cpu_has_bf16()) return {MatmulPrecision::f32};
  return {MatmulPrecision::f32, MatmulPrecision::bf16};
}

}  // namespace

TEST_CASE("every operator that records on the tape has a benchmark, views excepted") {
  const std::vector<std::string>& names = bench_operator_names();
  for (const std::string op : kOpFiles) {
    CAPTURE(op);
    const bool view = op == "slice" || op == "reshape";
    CHECK((std::find(names.begin(), names.end(), op) != names.end()) == !view);
  }
}

TEST_CASE("every case passes its own check, in each precision that it has") {
  for (const std::string& op : bench_operator_names()) {
    size_t cases = 0;
    for (const MatmulPrecision precision : precisions()) {
      for (const BenchCase& c : bench_cases(op, small_sizes(), precision)) {
        CAPTURE(c.op);
        CAPTURE(c.name);
        CHECK(c.op == op);
        CHECK(c.precision == precision);
        CHECK(!c.forward.empty());
        const double error = check_case(c);
        CHECK(error <= c.tolerance);
        if (op != "concat" && op != "arithmetic") CHECK(error > 0);  // f32 is not f64: they were compared
        const PassTimes times = c.run();
        CHECK(times.forward_ms > 0);
        ++cases;
      }
    }
    CHECK(cases > 0);
  }
}

TEST_CASE("a wrong forward, a wrong gradient and a NaN are caught") {
  TapeCase c;
  c.op = "wrong";
  c.name = "case";
  c.inputs = {bench_random({5, 3}, 1)};
  const auto message = [&c](TensorFunction run) {
    c.run = std::move(run);
    return error_of([&c] { check_case(tape_case(c)); });
  };
  CHECK(message([](const Tensors& in) { return Tensors{scale(in[0], 2)}; }) == "no error");
  const std::string forward = message(
      [](const Tensors& in) { return Tensors{scale(in[0], in[0].dtype() == DType::f32 ? 2.001 : 2.0)}; });
  CHECK(contains(forward, "wrong case: wrong"));
  CHECK(contains(forward, "0.0005 of the largest value"));
  const std::string backward = message([](const Tensors& in) {
    const double slope = in[0].dtype() == DType::f32 ? 2.001 : 2.0;
    return Tensors{record("off", scale(in[0].detach(), 2), {in[0]},
                          [slope](const Tensor& dy) -> Grads { return {scale(dy, slope)}; })};
  });
  CHECK(contains(backward, "wrong case: wrong"));
  CHECK(contains(message([](const Tensors& in) {
                   return Tensors{scale(in[0], in[0].dtype() == DType::f32 ? NAN : 2.0)};
                 }),
                 "inf of the largest value"));
  CHECK(relative_difference(zeros({2}, DType::f32), zeros({3}, DType::f32)) == INFINITY);
}

TEST_CASE("flops of the cases are those of the products that they run") {
  for (const std::string op : {"linear", "matmul"}) {
    for (const BenchCase& c : bench_cases(op, small_sizes(), MatmulPrecision::f32)) {
      CAPTURE(c.name);
      const int64_t before = gemm_flops().f32;
      c.run();
      CHECK(static_cast<double>(gemm_flops().f32 - before) == c.forward.flops + c.backward.flops);
    }
  }
  // Attention works in blocks, so it may compute a little of what the mask hides, and backward computes the
  // scores again.
  for (const BenchCase& c : bench_cases("attention", small_sizes(), MatmulPrecision::f32)) {
    const int64_t before = gemm_flops().f32;
    c.run();
    CHECK(static_cast<double>(gemm_flops().f32 - before) >= 7.0 / 6 * (c.forward.flops + c.backward.flops));
  }
}

TEST_CASE("a replay runs the products that were logged, no more and no fewer") {
  for (const MatmulPrecision precision : precisions()) {
    std::vector<GemmCall> calls;
    {
      const GemmLog log;
      for (const std::string op : {"linear", "matmul", "attention"})
        for (const BenchCase& c : bench_cases(op, small_sizes(), precision)) c.run();
      calls = log.calls();
    }
    REQUIRE(!calls.empty());
    CHECK(std::any_of(calls.begin(), calls.end(), [](const GemmCall& call) { return call.serial; }));
    const GemmFlops expected = flops_of(calls);
    CHECK((precision == MatmulPrecision::bf16 ? expected.bf16 : expected.f32) > 0);
    const GemmReplay replay(calls);
    const GemmLog log;
    CHECK(replay.run_ms() > 0);
    const GemmFlops replayed = flops_of(log.calls());
    CHECK(replayed.f32 == expected.f32);
    CHECK(replayed.bf16 == expected.bf16);
  }
  GemmCall call;
  call.m = call.n = call.k = call.count = 1;
  call.dtype = DType::f64;
  CHECK(contains(error_of([&call] { const GemmReplay replay({call}); }), "f64"));
}

TEST_CASE("a step is accounted for to the last token, product and byte") {
  const BenchSizes sizes = small_sizes();
  Peaks peaks;
  peaks.f32_gflops = 2;
  peaks.bf16_gflops = 4;
  for (const MatmulPrecision precision : precisions()) {
    const StepResult r = bench_step(sizes, precision, 5, peaks);
    CHECK(r.steps == 5);
    CHECK(r.tokens_per_step == 12 * 3);
    CHECK(r.step_ms.min > 0);
    CHECK(r.step_ms.min <= r.step_ms.median);
    CHECK(r.step_ms.median <= r.step_ms.max);
    CHECK(r.tokens_per_second() == doctest::Approx(36e3 / r.step_ms.median));
    CHECK((precision == MatmulPrecision::bf16 ? r.flops.bf16 : r.flops.f32) > 0);
    CHECK(r.flops.f64 == 0);
    const double f32 = static_cast<double>(r.flops.f32), bf16 = static_cast<double>(r.flops.bf16);
    CHECK(r.peak_floor_ms == doctest::Approx(f32 / 2e6 + bf16 / 4e6));
    CHECK(r.replay_ms.min > 0);
    CHECK(r.peak_bytes > 0);
    if (allocator_mode_from_environment() != AllocatorMode::direct) CHECK(r.peak_bytes <= r.reserved_bytes);
    const auto calls_of = [&r](const std::string& name) {
      for (const OperatorTime& time : r.operators)
        if (time.name == name) return time.calls;
      return int64_t{0};
    };
    CHECK(calls_of("sru_scan") == 4);  // one a layer
    CHECK(calls_of("causal_attention") == 4);
    CHECK(calls_of("linear") == 4 * 4 + 1);  // query, query of the memory, keys and values, output; logits
    const std::string text = step_text(r, peaks);
    for (const char* part :
         {"tokens/s", "sru_scan", "optimizer", "floor in practice", "allocations from the system"})
      CHECK(contains(text, part));
  }
  CHECK(contains(error_of([&] { bench_step(sizes, MatmulPrecision::f32, 0, peaks); }), "0 steps"));
}

TEST_CASE("sizes come from the preset unless they are given") {
  const BenchSizes laptop = bench_sizes("txl-matched");
  CHECK(laptop.d == 1920);
  CHECK(laptop.d_projected == 480);
  CHECK(laptop.unroll == 512);
  const BenchSizes small = small_sizes();
  CHECK(contains(small.text(), "T 12, M 12, B 3, d 40, d' 16, 2 heads, V 7"));
  BenchSizes bad;
  bad.heads = 7;
  CHECK(contains(error_of([&bad] { bench_sizes("laptop", bad); }), "heads must divide d'"));
  CHECK(contains(error_of([] { bench_cases("frobnicate", small_sizes(), MatmulPrecision::f32); }),
                 "linear, matmul"));
}

TEST_CASE("medians") {
  const Spread odd = spread_of({3, 1, 2});
  CHECK(odd.min == 1);
  CHECK(odd.median == 2);
  CHECK(odd.max == 3);
  CHECK(spread_of({4, 1, 2, 3}).median == 2.5);
  CHECK(contains(error_of([] { spread_of({}); }), "no timings"));
}

TEST_CASE("the program") {
  const auto small_run = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--unroll=8", "--batch-size=2", "--d=16", "--d-projected=8",
                                       "--vocabulary=5", "--rounds=1", "--precision=f32"});
    return run_tool("bench", arguments);
  };
  const ToolRun unknown = run_tool("bench", {"frobnicate"});
  CHECK(unknown.exit_code == 2);
  CHECK(contains(unknown.err, "frobnicate"));
  for (const std::string& op : bench_operator_names()) CHECK(contains(unknown.err, op));
  CHECK(run_tool("bench", {}).exit_code == 2);
  CHECK(run_tool("bench", {"softmax", "--rounds=0"}).exit_code == 2);
  CHECK(run_tool("bench", {"softmax", "--preset=nothing"}).exit_code == 1);
  const ToolRun ops = small_run({"softmax", "linear"});
  CAPTURE(ops.err);
  CHECK(ops.exit_code == 0);
  CHECK(contains(ops.out, "softmax f32 masked"));
  CHECK(contains(ops.out, "% of f32 products"));
  CHECK(contains(ops.out, "% of a copy"));
  const ToolRun step = small_run({"step", "--steps=2"});
  CAPTURE(step.err);
  CHECK(step.exit_code == 0);
  CHECK(contains(step.out, "step / floor"));
}
