// Running a function under a tape: once to be timed, and in two dtypes to be compared.
#include "tools/support/bench_case.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/tape.h"
#include "core/check.h"
#include "core/random.h"
#include "tools/support/bench_peak.h"
#include "tools/support/bench_timing.h"

namespace tandem {
namespace {

// Fresh leaves of these values: gradients are wanted from all floating ones.
std::vector<Tensor> leaves_of(const std::vector<Tensor>& values, DType dtype) {
  std::vector<Tensor> leaves;
  for (const Tensor& value : values) {
    const bool floating = value.defined() && is_floating(value.dtype());
    leaves.push_back(floating ? requires_grad(value.to(dtype)) : value);
  }
  return leaves;
}

// Gradients to start from, drawn in f64 so that every dtype gets the same ones, rounded.
Grads output_grads(const std::vector<Tensor>& outputs) {
  Grads grads;
  Random random(5);
  for (const Tensor& y : outputs) {
    grads.emplace_back(y.shape(), y.dtype());
    random.fill_uniform(grads.back(), -1, 1);
  }
  return grads;
}

// A loss starts from 1, as in training, where operators may save the work of multiplying by it.
Grads starting_grads(const std::vector<Tensor>& outputs) {
  if (outputs.size() == 1 && outputs[0].numel() == 1)
    return {full(outputs[0].shape(), 1, outputs[0].dtype())};
  return output_grads(outputs);
}

// Outputs, then the gradients of all inputs that have one.
std::vector<Tensor> results(const TapeCase& c, DType dtype) {
  const PrecisionScope scope(c.precision);
  const std::vector<Tensor> leaves = leaves_of(c.inputs, dtype);
  std::vector<Tensor> all;
  {
    Tape tape;
    const std::vector<Tensor> ys = c.run(c.prepare ? c.prepare(leaves) : leaves);
    for (const Tensor& y : ys) all.push_back(y.clone());  // backward may reuse what nobody else holds
    tape.backward(ys, output_grads(ys));
  }
  for (const Tensor& leaf : leaves)
    if (needs_grad(leaf) && grad(leaf).defined()) all.push_back(grad(leaf));
  return all;
}

double error_against_f64(const TapeCase& c) {
  const std::vector<Tensor> actual = results(c, DType::f32), expected = results(c, DType::f64);
  CHECK(actual.size() == expected.size(), "{} {}: {} results and gradients in f32, {} in f64", c.op, c.name,
        actual.size(), expected.size());
  double worst = 0;
  for (size_t i = 0; i < actual.size(); ++i)
    worst = std::max(worst, relative_difference(actual[i], expected[i]));
  return worst;
}

class TimedTape {
 public:
  explicit TimedTape(TapeCase c) : case_(std::move(c)), leaves_(leaves_of(case_.inputs, DType::f32)) {}

  PassTimes operator()() {
    const PrecisionScope scope(case_.precision);
    for (const Tensor& leaf : leaves_)
      if (needs_grad(leaf)) zero_grad(leaf);
    PassTimes times;
    Tape tape;
    const std::vector<Tensor> inputs = case_.prepare ? case_.prepare(leaves_) : leaves_;
    std::vector<Tensor> ys;
    times.forward_ms = time_ms([this, &ys, &inputs] { ys = case_.run(inputs); });
    if (grads_.empty()) grads_ = starting_grads(ys);
    times.backward_ms = time_ms([this, &tape, &ys] { tape.backward(ys, grads_); });
    return times;
  }

 private:
  TapeCase case_;
  std::vector<Tensor> leaves_;
  Grads grads_;
};

}  // namespace

BenchCase tape_case(TapeCase c) {
  BenchCase bench;
  bench.op = c.op;
  bench.name = c.name;
  bench.precision = c.precision;
  bench.forward = c.forward;
  bench.backward = c.backward;
  if (c.tolerance == 0) c.tolerance = c.precision == MatmulPrecision::bf16 ? 2e-2 : 1e-4;
  bench.tolerance = c.tolerance;
  bench.error = [c] { return error_against_f64(c); };
  bench.run = [timed = TimedTape(std::move(c))]() mutable { return timed(); };
  return bench;
}

double relative_difference(const Tensor& actual, const Tensor& expected) {
  if (actual.shape() != expected.shape()) return INFINITY;
  const std::vector<double> a = actual.to(DType::f64).to_vector<double>();
  const std::vector<double> e = expected.to(DType::f64).to_vector<double>();
  double difference = 0, largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(e[i])) return INFINITY;
    difference = std::max(difference, std::abs(a[i] - e[i]));
    largest = std::max(largest, std::abs(e[i]));
  }
  return largest > 0 ? difference / largest : difference;
}

double check_case(const BenchCase& c) {
  const double error = c.error();
  CHECK(error <= c.tolerance,
        "{} {}: wrong: the {} result differs from the reference by {:.2g} of the largest value; {:.2g} is "
        "allowed",
        c.op, c.name, name_of(c.precision), error, c.tolerance);
  return error;
}

double bytes_of(const std::vector<Tensor>& tensors) {
  double sum = 0;
  for (const Tensor& x : tensors)
    if (x.defined()) sum += static_cast<double>(x.nbytes());
  return sum;
}

}  // namespace tandem
