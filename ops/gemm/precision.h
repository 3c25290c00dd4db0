// The precision in which f32 matrices are multiplied, and the scope that sets it for a thread.
#pragma once
#include <cstdint>
#include <string>

#include "core/device.h"

namespace tandem {

// How f32 matrices are multiplied. bf16: operands are rounded to bf16 (nearest, ties to even), products are
// summed in f32, and the result is f32. tf32, on GPUs only: the same with 10 bits of mantissa. f64 matrices
// are multiplied in f64, and bf16 ones (on GPUs) as they are, whatever this says.
enum class MatmulPrecision : uint8_t { f32, bf16, tf32 };

// Of this thread; f32 unless a PrecisionScope says otherwise. Operators read it in forward and keep it for
// backward.
MatmulPrecision matmul_precision();

// Sets the thread's precision until destroyed. Error: one that the device cannot multiply in: tf32 on a CPU,
// bf16 on a CPU without it (ask cpu_has_bf16()).
class PrecisionScope {
 public:
  explicit PrecisionScope(MatmulPrecision precision, Device device = Device::cpu());
  ~PrecisionScope();
  PrecisionScope(const PrecisionScope&) = delete;
  PrecisionScope& operator=(const PrecisionScope&) = delete;

 private:
  MatmulPrecision outer_;
};

// The CPU multiplies bf16 by instructions of its own (AMX or AVX-512 BF16), through oneDNN.
bool cpu_has_bf16();

// The precision of a name: "f32", "tf32" or "bf16". Error: another name.
MatmulPrecision precision_named(const std::string& name);
const char* name_of(MatmulPrecision precision);

}  // namespace tandem
