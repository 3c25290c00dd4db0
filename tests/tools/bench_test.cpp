// What bench checks, counts and refuses. Nothing here depends on how fast anything is.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/gemm/log.h"
#include "tandem/ops/matmul.h"
#include "tests/support/bench.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/run_tool.h"
#include "tools/bench/operators.h"
#include "tools/bench/replay.h"
#include "tools/bench/report.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

using Tensors = std::vector<Tensor>;

}  // namespace

TEST_CASE("bench: operators register themselves, and those without a benchmark are listed") {
  const std::vector<std::string>& names = bench_operator_names();
  CHECK(names.size() >= 21);
  CHECK(std::is_sorted(names.begin(), names.end()));
  const std::vector<std::string> without = operators_without_bench();
  for (const std::string& op : without) CHECK(std::find(names.begin(), names.end(), op) == names.end());
  CHECK(std::find(without.begin(), without.end(), "reshape") != without.end());  // a view: nothing to time
}

namespace tandem {

BENCH_CASES(test_only) {  // as a file of its own would register it
  const Tensor x = bench.activation({bench.sizes.unroll, 4}, 1);
  bench.add(
      "twice", {x}, [](const Tensors& in) { return Tensors{scale(in[0], 2)}; },
      bytes_moved(2 * bytes_of({x}), 2 * bytes_of({x})));
}

}  // namespace tandem

TEST_CASE("bench: a registered operator has its cases in the precisions of activations") {
  const std::vector<BenchCase> cases = bench_cases("test_only", small_bench_sizes(), MatmulPrecision::f32);
  REQUIRE(cases.size() == 1);
  CHECK(cases[0].op == "test_only");
  CHECK(cases[0].name == "twice");
  CHECK(cases[0].forward.bytes == 2 * 12 * 4 * 4);
  CHECK(check_case(cases[0]) < 1e-6);
  CHECK(bench_cases("test_only", small_bench_sizes(), MatmulPrecision::bf16)
            .empty());  // a CPU has f32 activations
  CHECK(bench_cases("linear", small_bench_sizes(), MatmulPrecision::bf16).size() == 4);
}

TEST_CASE("bench: every case passes its own check, on each device and in each precision that it has") {
  for (const Device device : test_devices()) {
    const BenchDeviceScope on(device);
    CAPTURE(device.str());
    for (const std::string& op : bench_operator_names()) {
      size_t cases = 0;
      double largest = 0;
      for (const MatmulPrecision precision : bench_precisions()) {
        const std::vector<BenchCase> all = bench_cases(op, small_bench_sizes(), precision);
        if (precision == MatmulPrecision::f32 || (device.is_cuda() && precision == MatmulPrecision::bf16))
          CHECK(!all.empty());
        for (const BenchCase& c : all) {
          CAPTURE(c.op);
          CAPTURE(c.name);
          CAPTURE(std::string(name_of(precision)));
          CHECK(c.op == op);
          CHECK(c.precision == precision);
          CHECK(!c.forward.empty());
          const double error = check_case(c);
          CHECK(error <= c.tolerance);
          largest = std::max(largest, error);
          const PassTimes times = c.run(2);
          CHECK(times.forward_ms >= 0);
          CHECK(times.backward_ms >= 0);
          if (device.is_cpu()) CHECK(times.forward_ms > 0);  // by its own clock, not as a difference
          ++cases;
        }
      }
      CHECK(cases > 0);
      // Where f32 differs from f64, they were compared. Operators that choose and copy elements are exact in both.
      const std::string exact[] = {"compare", "concat", "embedding", "max", "test_only", "transpose"};
      if (std::find(std::begin(exact), std::end(exact), op) == std::end(exact)) CHECK(largest > 0);
    }
  }
}

TEST_CASE(
    "bench: inputs lie on the bench device, and activations are bf16 on a GPU in that precision alone") {
  for (const Device device : test_devices()) {
    const BenchDeviceScope on(device);
    CHECK(bench_random({3}, 1).device() == device);
    CHECK(bench_ids({3}, 5, 1).device() == device);
    for (const MatmulPrecision precision : bench_precisions()) {
      const bool bf16 = device.is_cuda() && precision == MatmulPrecision::bf16;
      const Tensor x = bench_activation({3}, precision, 1);
      CHECK(x.device() == device);
      CHECK(x.dtype() == (bf16 ? DType::bf16 : DType::f32));
      const BenchCase add = bench_cases("arithmetic", small_bench_sizes(), MatmulPrecision::f32)[0];
      CHECK(add.forward.bytes == 3 * 12 * 3 * 40 * 4);
      if (bf16) {
        const BenchCase rounded = bench_cases("arithmetic", small_bench_sizes(), precision)[0];
        CHECK(rounded.forward.bytes == add.forward.bytes / 2);
      }
    }
  }
  CHECK(bench_device() == Device::cpu());
}

TEST_CASE("bench: work is timed as often as was asked for") {
  for (const Device device : test_devices()) {
    const BenchDeviceScope on(device);
    const Tensor sum = zeros({1}, DType::f32, device), one = full({1}, 1, DType::f32, device);
    TimedWork work([sum, one] { add_in_place(sum, one); });
    CHECK(work.run_ms(3) >= 0);
    // On a GPU: one run by itself, then two replays of a graph of three runs, of which the second is timed.
    CHECK(sum.item() == (device.is_cuda() && allocator_allows_graphs() ? 1 + 2 * 3 : 3));
    fill(sum, 0);
    CHECK(work.run_ms(3) >= 0);
    CHECK(sum.item() == (device.is_cuda() && allocator_allows_graphs() ? 2 * 3 : 3));
    CHECK(work.round_ms() >= 0);
    CHECK(contains(error_of([&work] { work.run_ms(0); }), "0 repeats"));
  }
}

TEST_CASE("bench: a wrong result, a wrong gradient and a NaN are caught") {
  for (const Device device : test_devices()) {
    const BenchDeviceScope on(device);
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
    // One wrong element among many, in a tensor that several blocks of threads read.
    const Tensor expected = full({70000}, 2, DType::f64, device), actual = expected.to(DType::f32).clone();
    CHECK(relative_difference(actual, expected) == 0);
    fill(actual.view_rows(69999, 70000), 2.5);
    CHECK(relative_difference(actual, expected) == 0.25);
    fill(actual.view_rows(300, 301), INFINITY);
    CHECK(relative_difference(actual, expected) == INFINITY);
    CHECK(relative_difference(expected, actual) == INFINITY);
    CHECK(relative_difference(zeros({2}, DType::f32), zeros({3}, DType::f32)) == INFINITY);
  }
}

TEST_CASE("bench: the flops of a case are those of the products that it runs") {
  for (const std::string op : {"linear", "matmul"}) {
    for (const BenchCase& c : bench_cases(op, small_bench_sizes(), MatmulPrecision::f32)) {
      CAPTURE(c.name);
      const int64_t before = gemm_flops().f32;
      c.run(1);
      CHECK(static_cast<double>(gemm_flops().f32 - before) == c.forward.flops + c.backward.flops);
    }
  }
  // Attention works in blocks, so it may compute a few masked pairs, and its backward pass computes the scores
  // again.
  for (const BenchCase& c : bench_cases("attention", small_bench_sizes(), MatmulPrecision::f32)) {
    const int64_t before = gemm_flops().f32;
    c.run(1);
    CHECK(static_cast<double>(gemm_flops().f32 - before) >= 7.0 / 6 * (c.forward.flops + c.backward.flops));
  }
}

TEST_CASE("bench: a replay runs the products that were logged, no more and no fewer") {
  for (const MatmulPrecision precision : bench_precisions()) {
    std::vector<GemmCall> calls;
    {
      const GemmLog log;
      for (const std::string op : {"linear", "matmul", "attention"})
        for (const BenchCase& c : bench_cases(op, small_bench_sizes(), precision)) c.run(1);
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

TEST_CASE("bench peak: shows every precision that the device has, and no other") {
  for (const Device device : test_devices()) {
    const BenchDeviceScope on(device);
    const std::string text = peak_text(measure_peak_table(1));
    for (const MatmulPrecision precision :
         {MatmulPrecision::f32, MatmulPrecision::tf32, MatmulPrecision::bf16}) {
      const bool none =
          text.find(std::string("products ") + name_of(precision) + ": none on this ") != std::string::npos;
      CHECK(none == !bench_has(precision));
      if (none) CHECK(contains(error_of([precision] { measure_gemm_peak(precision, 1); }), "use f32"));
    }
    // A simulated GPU, whose speed means nothing, gets small products and copies.
#ifdef TANDEM_CUDA_SIMULATED
    CHECK(contains(text, device.is_cpu() ? "1024 x 1024 x 1024" : "64 x 64 x 64"));
    CHECK(contains(text, device.is_cpu() ? "of 256 MiB" : "0.25 MiB"));
#else
    CHECK(contains(text, "1024 x 1024 x 1024"));
    CHECK(contains(text, device.is_cpu() ? "of 256 MiB" : "of 1024 MiB"));
#endif
    CHECK(contains(text, device.is_cpu() ? "GFLOP/s" : "TFLOP/s"));
    CHECK(contains(text, "read: ") == device.is_cpu());
  }
}

TEST_CASE("bench: sizes come from the preset unless they are given") {
  const BenchSizes laptop = bench_sizes("txl-matched");
  CHECK(laptop.d == 1920);
  CHECK(laptop.d_projected == 480);
  CHECK(laptop.unroll == 512);
  const BenchSizes small = small_bench_sizes();
  CHECK(contains(small.text(), "T 12, M 12, B 3, d 40, d' 16, 2 heads, V 7"));
  BenchSizes bad;
  bad.heads = 7;
  CHECK(contains(error_of([&bad] { bench_sizes("laptop", bad); }), "heads must divide d'"));
  CHECK(contains(error_of([] { bench_cases("frobnicate", small_bench_sizes(), MatmulPrecision::f32); }),
                 "lstm, matmul"));
}

TEST_CASE("bench: the median of an even number of timings is the mean of the middle two") {
  const Spread odd = spread_of({3, 1, 2});
  CHECK(odd.min == 1);
  CHECK(odd.median == 2);
  CHECK(odd.max == 3);
  CHECK(spread_of({4, 1, 2, 3}).median == 2.5);
  CHECK(contains(error_of([] { spread_of({}); }), "no timings"));
}

TEST_CASE("bench: unknown operators and bad flags are refused, known operators and steps are run") {
  const ToolRun unknown = run_tool("bench", {"frobnicate"});
  CHECK(unknown.exit_code == 2);
  CHECK(contains(unknown.err, "frobnicate"));
  for (const std::string& op : bench_operator_names())
    if (op != "test_only") CHECK(contains(unknown.err, op));
  CHECK(run_tool("bench", {}).exit_code == 2);
  CHECK(run_tool("bench", {"softmax", "--rounds=0"}).exit_code == 2);
  CHECK(run_tool("bench", {"softmax", "--preset=nothing"}).exit_code == 1);
  const ToolRun no_tf32 = run_tool("bench", {"linear", "--device=cpu", "--precision=tf32"});
  CHECK(no_tf32.exit_code == 1);
  CHECK(contains(no_tf32.err, "only GPUs have it"));
  for (const Device device : test_devices()) {
    const auto small_run = [device](std::vector<std::string> arguments) {
      arguments.insert(arguments.end(),
                       {"--unroll=8", "--batch-size=2", "--d=16", "--d-projected=8", "--vocabulary=5",
                        "--rounds=1", device.is_cpu() ? "--device=cpu" : "--device=cuda"});
      return run_tool("bench", arguments);
    };
    const ToolRun ops = small_run({"softmax", "linear", "--precision=f32"});
    CAPTURE(ops.err);
    CHECK(ops.exit_code == 0);
    CHECK(contains(ops.out, device.is_cpu() ? "device: cpu, " : "device: cuda:0, "));
    CHECK(contains(ops.out, "softmax f32 masked"));
    CHECK(contains(ops.out, "% of f32 products"));
    CHECK(contains(ops.out, "% of a copy"));
    const std::string precision = device.is_cpu() ? "f32" : "bf16";
    const ToolRun step = small_run({"step", "--steps=2", "--precision=" + precision});
    CAPTURE(step.err);
    CHECK(step.exit_code == 0);
    CHECK(contains(step.out, "step " + precision + ": "));
    CHECK(contains(step.out, "step / floor"));
    const TempDir folder;
    const std::string json = (folder / "step.json").string();
    CHECK(small_run({"step", "--steps=1", "--precision=" + precision, "--json=" + json}).exit_code == 0);
    // In a record the products of a GPU's step stand as text: the logits of 16 tokens, 16 wide, are among them.
    CHECK(contains(read_text(json), "\"16x5x16 nt 1\"") == device.is_cuda());
    const std::vector<std::string> sweep = {
        "attention",         "step",          "--steps=1", "--precision=" + precision, "--waves=1,0.5",
        "--scores=f32,bf16", "--json=" + json};
    const ToolRun swept = small_run(sweep);
    CAPTURE(swept.err);
    if (device.is_cpu()) {
      CHECK(swept.exit_code == 2);
      CHECK(contains(swept.err, "this is the CPU"));
    } else {
      CHECK(swept.exit_code == 0);
      for (const char* text :
           {"1 head\"", "1 head, 0.5 waves\"", "1 head, bf16 scores\"", "1 head, 0.5 waves, bf16 scores\""})
        CHECK(contains(read_text(json), text));
      CHECK(contains(read_text(json), "\"attention\": \"0.5 waves, bf16 scores\""));
      CHECK(small_run({"attention", "--waves=0"}).exit_code == 2);
      CHECK(small_run({"attention", "--scores=f16"}).exit_code == 2);
    }
    const ToolRun shards = small_run({"step", "--steps=2", "--shards=2", "--precision=" + precision});
    CAPTURE(shards.err);
    CHECK(shards.exit_code == 0);
    CHECK(contains(shards.out, ", 2 shards"));
    CHECK(
        contains(small_run({"step", "--steps=2", "--shards=5"}).err, "5 shards cannot share 2 rows evenly"));
  }
  if (!has_cuda())
    CHECK(contains(run_tool("bench", {"softmax", "--device=cuda"}).err,
                   "--device=cuda: " + cuda_status().text));
}

TEST_CASE("bench all: names the operators that have no benchmark") {
  const ToolRun all =
      run_tool("bench", {"all", "--unroll=8", "--batch-size=2", "--d=16", "--d-projected=8", "--vocabulary=5",
                         "--words=200", "--rounds=1", "--device=cpu", "--precision=f32"});
  CAPTURE(all.err);
  CHECK(all.exit_code == 0);
  const size_t at = all.out.find("without a benchmark: ");
  REQUIRE(at != std::string::npos);
  CHECK(contains(all.out.substr(at), "reshape, slice"));
}
