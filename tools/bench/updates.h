// Updates of a model's parameters by an optimizer, with random gradients, which are timed without a training step.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tandem/models/named_tensor.h"
#include "tandem/models/training/optimizer.h"
#include "tandem/ops/gemm/precision.h"
#include "tools/bench/case.h"
#include "tools/bench/timing.h"

namespace tandem {

// An optimizer over copies of parameters, on the bench device. In a precision whose activations are bf16, the update of f32
// parameters also writes the bf16 copies of the matrices. Error: there is no such optimizer (`kind`, see OptimizerConfig).
class Updates {
 public:
  Updates(const std::vector<NamedTensor>& parameters, const std::string& kind, DType dtype,
          MatmulPrecision precision, double lr);
  Updates(const Updates&) = delete;
  Updates& operator=(const Updates&) = delete;

  void step();
  double step_ms(int repeats) { return timed_.run_ms(repeats); }

  // Returns values and moments, all that a step changes.
  std::vector<Tensor> results() const;
  int64_t count() const;  // of numbers in the parameters
  // Bytes of an update by RAdam: the norm reads the gradients; the update reads gradients, values and two moments, and
  // writes values, moments and bf16 copies.
  double bytes() const { return 8 * bytes_of(gradients_) + bytes_of(low_precision_); }

 private:
  std::vector<NamedTensor> parameters_;
  MatmulPrecision precision_;
  Optimizer optimizer_;
  Tensor lr_, outcome_;
  std::vector<Tensor> gradients_, low_precision_;
  TimedWork timed_;
};

}  // namespace tandem
