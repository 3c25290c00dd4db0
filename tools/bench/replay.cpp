// Replay of a GemmLog.
#include "tools/bench/replay.h"

#include <utility>

#include "tandem/core/check.h"
#include "tandem/core/parallel.h"
#include "tandem/core/random.h"
#include "tandem/ops/gemm/gemm.h"
#include "tandem/ops/gemm/log.h"
#include "tandem/ops/gemm/onednn.h"
#include "tandem/ops/gemm/pack.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

Tensor small_random(int64_t rows, int64_t columns, DType dtype, uint64_t seed) {
  Tensor x({rows, columns}, dtype);
  Random(seed).fill_uniform(x, -1e-3, 1e-3);  // small, so that accumulated results stay finite over many runs
  return x;
}

Gemm product_of(const GemmCall& call) {
  Gemm product;
  product.m = call.m, product.n = call.n, product.k = call.k;
  product.transpose_a = call.transpose_a, product.transpose_b = call.transpose_b;
  product.lda = call.transpose_a ? call.m : call.k;
  product.ldb = call.transpose_b ? call.k : call.n;
  product.ldc = call.n;
  product.accumulate = call.accumulate;
  product.precision = call.dtype == DType::bf16 ? MatmulPrecision::bf16 : MatmulPrecision::f32;
  return product;
}

// Multiplies packed operands and logs the product, as attention does.
void multiply_packed(float* c, const Tensor& a, const Tensor& b, const GemmCall& call) {
  const int64_t k = b.size(0);
  note_gemm({call.m, call.n, k, false, false, call.accumulate, DType::bf16, true, 1});
  cpu::onednn_multiply_packed(c, a.data<bf16>(), b.data<bf16>(), call.m, call.n, k, call.accumulate);
}

}  // namespace

GemmFlops flops_of(const std::vector<GemmCall>& calls) {
  GemmFlops flops;
  for (const GemmCall& call : calls) {
    int64_t& sum = call.dtype == DType::f64 ? flops.f64 : call.dtype == DType::bf16 ? flops.bf16 : flops.f32;
    sum += 2 * call.m * call.n * call.k * call.count;
  }
  return flops;
}

GemmReplay::GemmReplay(std::vector<GemmCall> calls) : calls_(std::move(calls)) {
  for (const GemmCall& call : calls_) {
    TANDEM_CHECK(call.dtype != DType::f64,
                 "benchmark: products in f64 are not replayed; run the model in f32");
    // Products that ran side by side in bf16 took packed operands, which are padded.
    const bool packed = call.serial && call.dtype == DType::bf16;
    const int64_t n = packed ? cpu::packed_width(call.n) : call.n,
                  k = packed ? cpu::packed_depth(call.k) : call.k;
    const DType dtype = packed ? DType::bf16 : DType::f32;
    operands_.push_back({small_random(call.m, k, dtype, 1), small_random(k, n, dtype, 2),
                         zeros({call.serial ? cpu::max_threads() : 1, call.m, call.n}, DType::f32)});
  }
}

void GemmReplay::run(const GemmCall& call, const Operands& operands) const {
  const Gemm product = product_of(call);
  float* c = operands.c.data<float>();
  if (!call.serial) {
    for (int64_t i = 0; i < call.count; ++i)
      cpu::gemm(c, operands.a.data<float>(), operands.b.data<float>(), product);
    return;
  }
  const int64_t size = operands.c.size(1) * operands.c.size(2);
  cpu::parallel_for(call.count, true, [&](int64_t) {
    const cpu::SingleThreaded single;
    float* own = c + cpu::thread_index() * size;
    if (call.dtype == DType::bf16)
      multiply_packed(own, operands.a, operands.b, call);
    else
      cpu::gemm_serial(own, operands.a.data<float>(), operands.b.data<float>(), product);
  });
}

double GemmReplay::run_ms() const {
  return time_ms([this] {
    for (size_t i = 0; i < calls_.size(); ++i) run(calls_[i], operands_[i]);
  });
}

}  // namespace tandem
