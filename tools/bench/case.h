// A case of a benchmark: one operator at one size, ready to be checked and timed.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/gemm/precision.h"

namespace tandem {

// The least work of one pass. With flops, the pass is bound by matrix products and measured against their
// peak; with bytes (each input and output once), it is bound by memory and measured against a copy. With
// neither there is nothing to measure.
struct Work {
  double flops = 0;
  double bytes = 0;
  bool empty() const { return flops == 0 && bytes == 0; }
};

struct PassTimes {
  double forward_ms = 0, backward_ms = 0;
};

// The part of a case that runs: what makes its inputs, then the forward pass too, then the backward pass too.
enum class CasePart { inputs, forward, backward };

struct BenchCase {
  std::string op;    // name of the operator's file in ops/
  std::string name;  // what distinguishes this case, with its sizes
  MatmulPrecision precision = MatmulPrecision::f32;
  Work forward, backward;
  bool has_backward = true;
  double tolerance = 1e-4;                    // that error() may not exceed
  std::function<double()> error;              // computes the largest relative error of results and gradients
  std::function<PassTimes(int repeats)> run;  // runs both passes `repeats` times and returns the mean times
  // Runs once, untimed, up to the given part: for programs that count what kernels do.
  std::function<void(CasePart last)> run_once;
};

// Inputs and outputs of a function of tensors; undefined tensors stay as they are.
using TensorFunction = std::function<std::vector<Tensor>(const std::vector<Tensor>&)>;

// A case whose function records on the tape. Outputs and gradients are checked against the same function in
// f64 on the same values and device, each through a random projection.
struct TapeCase {
  std::string op, name;
  MatmulPrecision precision = MatmulPrecision::f32;
  std::vector<Tensor> inputs;  // on the bench device, in the dtypes that they have in a model
  TensorFunction run;
  TensorFunction prepare = {};  // optional: maps `inputs` to the inputs of `run`, on the tape, untimed
  Work forward = {}, backward = {};
  double tolerance = 0;  // 0: 1e-4 in f32, 5e-3 in tf32, 2e-2 in bf16
};
BenchCase tape_case(TapeCase c);

// Returns the largest absolute difference over the largest absolute expected value; infinity if the shapes
// differ or a value is not finite.
double relative_difference(const Tensor& actual, const Tensor& expected);

// Returns the error of a case. Error: it exceeds the tolerance; the message names the case.
double check_case(const BenchCase& c);

// Returns the sum of the bytes of the defined tensors.
double bytes_of(const std::vector<Tensor>& tensors);

}  // namespace tandem
