// The context of each thread, its scopes, and the names of precisions.
#include "tandem/ops/gemm/precision.h"

#include "tandem/core/check.h"
#include "tandem/ops/gemm/onednn.h"

namespace tandem {
namespace {

thread_local ComputeContext context_of_thread;

ComputeContext context_with(MatmulPrecision precision, Device device) {
  TANDEM_CHECK(device.is_cuda() || precision != MatmulPrecision::tf32,
               "precision tf32: only GPUs have it; use f32 or bf16");
  TANDEM_CHECK(
      device.is_cuda() || precision == MatmulPrecision::f32 || cpu_has_bf16(),
      "precision bf16: this CPU has no bf16 instructions (AMX or AVX-512 BF16) that oneDNN can use; use f32");
  ComputeContext context = compute_context();
  context.precision = precision;
  return context;
}

}  // namespace

const ComputeContext& compute_context() {
  return context_of_thread;
}

ComputeScope::ComputeScope(const ComputeContext& inner) : outer_(context_of_thread) {
  context_of_thread = inner;
}
ComputeScope::~ComputeScope() {
  context_of_thread = outer_;
}

PrecisionScope::PrecisionScope(MatmulPrecision precision, Device device)
    : ComputeScope(context_with(precision, device)) {}

bool cpu_has_bf16() {
  return cpu::onednn_has_bf16();
}

MatmulPrecision precision_named(const std::string& name) {
  if (name == "f32") return MatmulPrecision::f32;
  if (name == "tf32") return MatmulPrecision::tf32;
  TANDEM_CHECK(name == "bf16", "precision {} is not known; use f32, tf32 or bf16", name);
  return MatmulPrecision::bf16;
}

const char* name_of(MatmulPrecision precision) {
  switch (precision) {
    case MatmulPrecision::f32:
      return "f32";
    case MatmulPrecision::tf32:
      return "tf32";
    case MatmulPrecision::bf16:
      break;
  }
  return "bf16";
}

}  // namespace tandem
