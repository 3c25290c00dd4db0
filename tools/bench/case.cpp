// Runs the function of a case on a tape, to time it and to compare it with f64.
#include "tools/bench/case.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "tandem/autograd/tape.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/random.h"
#include "tandem/cuda/runtime/max_difference.h"
#include "tools/bench/peak.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

// Returns new leaves with these values; all floating ones require a gradient.
std::vector<Tensor> leaves_of(const std::vector<Tensor>& values) {
  std::vector<Tensor> leaves;
  for (const Tensor& value : values) {
    const bool floating = value.defined() && is_floating(value.dtype());
    leaves.push_back(floating ? requires_grad(value.detach()) : value);
  }
  return leaves;
}

std::vector<Tensor> in_f64(const std::vector<Tensor>& values) {
  std::vector<Tensor> wide;
  for (const Tensor& value : values)
    wide.push_back(value.defined() && is_floating(value.dtype()) ? value.to(DType::f64) : value);
  return wide;
}

// Returns random gradients of the outputs.
Grads output_grads(const std::vector<Tensor>& outputs) {
  Grads grads;
  Random random(5);
  for (const Tensor& y : outputs) {
    grads.push_back(empty_like(y));
    random.fill_uniform(grads.back(), -1, 1);
  }
  return grads;
}

// Returns the gradients that timed backward passes start from: 1 for a loss, as in training, where operators
// may skip the multiplication by it.
Grads starting_grads(const std::vector<Tensor>& outputs) {
  if (outputs.size() == 1 && outputs[0].numel() == 1)
    return {full(outputs[0].shape(), 1, outputs[0].dtype(), outputs[0].device())};
  return output_grads(outputs);
}

// Returns the outputs and the gradients of the inputs. Draws `grads`, those of the outputs, if it is empty.
std::vector<Tensor> results(const TapeCase& c, const std::vector<Tensor>& inputs, Grads& grads) {
  const PrecisionScope scope(c.precision, bench_device());
  const std::vector<Tensor> leaves = leaves_of(inputs);
  std::vector<Tensor> all;
  {
    Tape tape;
    const std::vector<Tensor> ys = c.run(c.prepare ? c.prepare(leaves) : leaves);
    for (const Tensor& y : ys)
      all.push_back(y.detach().clone());  // the backward pass may overwrite what it alone owns
    if (grads.empty()) grads = output_grads(ys);
    tape.backward(ys, grads);
  }
  for (const Tensor& leaf : leaves)
    if (needs_grad(leaf) && grad(leaf).defined()) all.push_back(grad(leaf));
  return all;
}

double error_against_f64(const TapeCase& c) {
  Grads grads;
  const std::vector<Tensor> actual = results(c, c.inputs, grads);
  grads = in_f64(grads);
  const std::vector<Tensor> expected = results(c, in_f64(c.inputs), grads);
  TANDEM_CHECK(actual.size() == expected.size(), "{} {}: {} results and gradients in {}, {} in f64", c.op,
               c.name, actual.size(), name_of(c.precision), expected.size());
  double worst = 0;
  for (size_t i = 0; i < actual.size(); ++i)
    worst = std::max(worst, relative_difference(actual[i], expected[i]));
  return worst;
}

// Times the passes of a case. On a CPU each pass is timed by itself; on a GPU the time of a pass is what it
// adds to the time of the passes before it.
class TimedTape {
 public:
  explicit TimedTape(TapeCase c)
      : case_(std::move(c)),
        leaves_(leaves_of(case_.inputs)),
        device_(bench_device()),
        prepare_([this] { run_once(CasePart::inputs); }),
        forward_([this] { run_once(CasePart::forward); }),
        both_([this] { run_once(CasePart::backward); }) {}
  TimedTape(const TimedTape&) = delete;
  TimedTape& operator=(const TimedTape&) = delete;

  PassTimes run_ms(int repeats) {
    if (device_.is_cuda()) {
      const double prepare = case_.prepare ? prepare_.run_ms(repeats) : 0;
      const double forward = forward_.run_ms(repeats), both = both_.run_ms(repeats);
      return {std::max(forward - prepare, 0.0), std::max(both - forward, 0.0)};
    }
    PassTimes sum;
    for (int i = 0; i < repeats; ++i) {
      const PassTimes times = run();
      sum.forward_ms += times.forward_ms;
      sum.backward_ms += times.backward_ms;
    }
    return {sum.forward_ms / repeats, sum.backward_ms / repeats};
  }

  void run_once(CasePart last) {
    if (last == CasePart::inputs) pass([](const std::vector<Tensor>&) {});
    if (last == CasePart::forward) pass([this](const std::vector<Tensor>& inputs) { case_.run(inputs); });
    if (last == CasePart::backward) run();
  }

 private:
  // Calls f with the inputs, under a new tape.
  template <class F>
  void pass(const F& f) {
    const PrecisionScope scope(case_.precision, device_);
    for (const Tensor& leaf : leaves_)
      if (needs_grad(leaf)) zero_grad(leaf);
    Tape tape;
    f(case_.prepare ? case_.prepare(leaves_) : leaves_);
  }

  PassTimes run() {
    PassTimes times;
    pass([this, &times](const std::vector<Tensor>& inputs) {
      std::vector<Tensor> ys;
      times.forward_ms = time_ms([this, &ys, &inputs] { ys = case_.run(inputs); });
      if (grads_.empty()) grads_ = starting_grads(ys);
      times.backward_ms = time_ms([this, &ys] { Tape::current()->backward(ys, grads_); });
    });
    return times;
  }

  TapeCase case_;
  std::vector<Tensor> leaves_;
  Device device_;
  Grads grads_;
  TimedWork prepare_, forward_, both_;
};

double default_tolerance(MatmulPrecision precision) {
  return precision == MatmulPrecision::bf16 ? 2e-2 : precision == MatmulPrecision::tf32 ? 5e-3 : 1e-4;
}

}  // namespace

BenchCase tape_case(TapeCase c) {
  BenchCase bench;
  bench.op = c.op;
  bench.name = c.name;
  bench.precision = c.precision;
  bench.forward = c.forward;
  bench.backward = c.backward;
  bench.tolerance = c.tolerance > 0 ? c.tolerance : default_tolerance(c.precision);
  bench.error = [c] { return error_against_f64(c); };
  const auto timed = std::make_shared<TimedTape>(std::move(c));
  bench.run = [timed](int repeats) { return timed->run_ms(repeats); };
  bench.run_once = [timed](CasePart last) { timed->run_once(last); };
  return bench;
}

double relative_difference(const Tensor& actual, const Tensor& expected) {
  if (actual.shape() != expected.shape()) return INFINITY;
  if constexpr (kWithCuda)
    if (actual.device().is_cuda()) {
      const cuda::Difference found = cuda::difference(
          is_floating(actual.dtype()) ? actual : actual.to(DType::f64), expected.to(DType::f64));
      return std::isfinite(found.largest) && found.magnitude > 0 ? found.largest / found.magnitude
                                                                 : found.largest;
    }
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
  TANDEM_CHECK(
      error <= c.tolerance,
      "{} {}: wrong: the {} result differs from the reference by {:.2g} of the largest value; {:.2g} is allowed",
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
