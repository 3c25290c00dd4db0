// One operator at one size, ready to be checked and timed.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "ops/gemm/precision.h"

namespace tandem {

// What one pass must do at least. With flops it is bound by products and measured against the GEMM peak; else
// by memory: bytes are those of its inputs and outputs, once each. Neither: there is nothing to measure.
struct Work {
  double flops = 0;
  double bytes = 0;
  bool empty() const { return flops == 0 && bytes == 0; }
};

struct PassTimes {
  double forward_ms = 0, backward_ms = 0;
};

struct BenchCase {
  std::string op;    // the file in ops/
  std::string name;  // what this case varies, with its sizes
  MatmulPrecision precision = MatmulPrecision::f32;
  Work forward, backward;
  bool has_backward = true;
  double tolerance = 1e-4;        // of error()
  std::function<double()> error;  // of results and gradients, relative to the largest expected of each
  std::function<PassTimes(int repeats)> run;  // so many times, forward and back; the means
};

// Inputs and outputs of a function of tensors; undefined tensors stay as they are.
using TensorFunction = std::function<std::vector<Tensor>(const std::vector<Tensor>&)>;

// A function that records on the tape. It is checked against itself in f64 on the same values and device,
// outputs and gradients, each through a random projection.
struct TapeCase {
  std::string op, name;
  MatmulPrecision precision = MatmulPrecision::f32;
  std::vector<Tensor> inputs;  // on the bench device, in the dtypes that they have in a model
  TensorFunction run;
  TensorFunction prepare = {};  // on the tape, before `run` and untimed; none: inputs as they are
  Work forward = {}, backward = {};
  double tolerance = 0;  // 0: 1e-4 in f32, 5e-3 in tf32, 2e-2 in bf16
};
BenchCase tape_case(TapeCase c);

// The largest difference, over the largest absolute value expected; infinite where shapes differ or a value
// is not a number.
double relative_difference(const Tensor& actual, const Tensor& expected);

// The error of a case. Error: it is above the tolerance; the message names the case.
double check_case(const BenchCase& c);

// Sum of the bytes of tensors; undefined ones have none.
double bytes_of(const std::vector<Tensor>& tensors);

}  // namespace tandem
