// These tests hold what bench counts in a training step, and which optimizer it times. Nothing here depends on how fast anything is.
#include "tools/bench/step.h"

#include <doctest/doctest.h>

#include "tandem/models/registry.h"
#include "tandem/ops/gemm/log.h"
#include "tests/support/bench.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/same_bits.h"
#include "tools/bench/updates.h"
#ifdef TANDEM_CUDA_SIMULATED
#include "tandem/cuda/simulator/simulator.h"
#endif

using namespace tandem;
using namespace tandem::testing;

TEST_CASE("bench step: tokens, products and bytes of a step are all counted") {
  const BenchSizes sizes = small_bench_sizes();
  Peaks peaks;
  peaks.f32_gflops = 2;
  peaks.tf32_gflops = 3;
  peaks.bf16_gflops = 4;
  for (const Device device : test_devices()) {
    const BenchDeviceScope on(device);
    CAPTURE(device.str());
    for (const MatmulPrecision precision : bench_precisions()) {
      CAPTURE(std::string(name_of(precision)));
#ifdef TANDEM_CUDA_SIMULATED
      simulator::reset_statistics();
#endif
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
      const double wide = precision == MatmulPrecision::tf32 ? 3e6 : 2e6;
      CHECK(r.peak_floor_ms == doctest::Approx(f32 / wide + bf16 / 4e6));
      CHECK(r.peak_bytes > 0);
      if (allocator_allows_graphs()) CHECK(r.peak_bytes <= r.reserved_bytes);
      if (allocator_allows_graphs()) CHECK(r.system_allocations == 0);
      // The model needs at most what it ran: the backward pass of attention computes the scores again.
      CHECK(r.flops_per_token > 0);
      CHECK(r.flops_per_token * 36 <= f32 + bf16);
      const auto calls_of = [&r](const std::string& name) {
        for (const OperatorTime& time : r.operators)
          if (time.name == name) return time.calls;
        return int64_t{0};
      };
      CHECK(calls_of("sru_scan") == 4);  // one in each layer
      CHECK(calls_of("causal_attention") == 4);
      CHECK(calls_of("linear") ==
            3 * 4 + 1);  // in each layer query, keys and values, output; then the logits
      CHECK(r.split_ms > 0);
      for (const OperatorTime& time : r.operators) CHECK(time.forward_ms > 0);
      const std::string text = step_text(r, peaks);
      for (const char* part : {"tokens/s", "sru_scan", "radam (timed apart)", "floor at the measured peak",
                               "allocations from the system"})
        CHECK(contains(text, part));
      if (device.is_cpu()) {
        CHECK(r.replay_ms.min > 0);
        CHECK(contains(text, "floor in practice"));
        CHECK(r.products.empty());
        continue;
      }
      double products = 0;
      for (const GemmCall& p : r.products) products += 2.0 * static_cast<double>(p.m * p.n * p.k * p.count);
      CHECK(products == f32 + bf16);
#ifdef TANDEM_CUDA_SIMULATED
      // A profiler sees one step alone, with its optimizer.
      CHECK(simulator::statistics().profiled > r.products.size() / 4);
      CHECK(simulator::statistics().profiled * 8 < simulator::statistics().launches);
#endif
      CHECK(r.eager_ms.min > 0);
      CHECK(contains(text, "operator by operator: "));
      CHECK(contains(text, "MFU: "));
      CHECK(r.graph_refusal.empty() == allocator_allows_graphs());
      if (!allocator_allows_graphs()) CHECK(contains(text, "no CUDA graph: "));
    }
    const StepResult kept = bench_step(sizes, MatmulPrecision::f32, 1, peaks),
                     again = bench_step(sizes, MatmulPrecision::f32, 1, peaks, true);
    CHECK(again.peak_bytes < kept.peak_bytes);
    CHECK(again.flops.f32 > kept.flops.f32);  // a third forward pass of the layers' products
    CHECK(contains(step_text(again, peaks), "step f32 with recomputation: "));
    CHECK(contains(error_of([&] { bench_step(sizes, MatmulPrecision::f32, 0, peaks); }), "0 steps"));
  }
}

TEST_CASE("bench step: the optimizer that is timed is the preset's, with the products of Muon") {
  const BenchSizes sizes = small_bench_sizes("laptop");
  const StepResult r = bench_step(sizes, MatmulPrecision::f32, 1, Peaks());
  CHECK(r.optimizer == "muon");
  CHECK(contains(step_text(r, Peaks()), "muon (timed apart)"));
  const std::vector<NamedTensor> parameters = make_model(sizes.model_config, 1)->parameters();
  for (const std::string kind : {"radam", "muon"}) {
    CAPTURE(kind);
    Updates updates(parameters, kind, DType::f32, MatmulPrecision::f32, 0.1);
    const int64_t products = gemm_flops().f32;
    updates.step();
    CHECK((gemm_flops().f32 > products) == (kind == "muon"));
    const std::vector<Tensor> after = updates.results();
    for (size_t i = 0; i < parameters.size(); ++i) CHECK(!same_bits(after[i], parameters[i].value));
  }
}
