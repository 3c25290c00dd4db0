// The precision in which f32 matrices are multiplied, and the thread's ComputeContext, which holds it.
#pragma once
#include <cstdint>
#include <string>

#include "tandem/core/device.h"

namespace tandem {

// How f32 matrices are multiplied:
//   f32    as they are
//   bf16   operands are rounded to bf16 (to nearest, ties to even), summed in f32, and the result is f32
//   tf32   the same with a mantissa of 10 bits; GPUs only
// f64 matrices are always multiplied in f64, and bf16 matrices (on GPUs) in bf16.
enum class MatmulPrecision : uint8_t { f32, bf16, tf32 };

// Everything that a thread's products depend on besides their arguments. Operators read it in forward, and
// backward runs in the precision of forward.
struct ComputeContext {
  MatmulPrecision precision = MatmulPrecision::f32;  // set by PrecisionScope
  bool generating = false;  // set by GenerationScope (ops/support/weight_cache.h): keep packed weights
};

// Returns the context of the calling thread.
const ComputeContext& compute_context();

inline MatmulPrecision matmul_precision() {
  return compute_context().precision;
}

// Replaces the thread's context while it lives: the base of PrecisionScope and GenerationScope. Scopes must
// end in the reverse order of their construction.
class ComputeScope {
 public:
  ComputeScope(const ComputeScope&) = delete;
  ComputeScope& operator=(const ComputeScope&) = delete;

 protected:
  explicit ComputeScope(const ComputeContext& inner);
  ~ComputeScope();

 private:
  ComputeContext outer_;
};

// Sets the thread's precision while it lives. Error: the device cannot multiply in it, that is tf32 on a CPU,
// or bf16 on a CPU for which cpu_has_bf16() is false.
class PrecisionScope : ComputeScope {
 public:
  explicit PrecisionScope(MatmulPrecision precision, Device device = Device::cpu());
};

// True if the CPU has bf16 instructions (AMX or AVX-512 BF16) that oneDNN can use.
bool cpu_has_bf16();

// Returns the precision called "f32", "tf32" or "bf16". Error: another name.
MatmulPrecision precision_named(const std::string& name);
const char* name_of(MatmulPrecision precision);

}  // namespace tandem
