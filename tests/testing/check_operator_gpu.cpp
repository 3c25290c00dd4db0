// The checks of an operator on a GPU, real or simulated: its cases against the CPU in f64, f32 and bf16, the derivative in
// f64, and the same bits in whatever order threads run.
#include <algorithm>

#include "tandem/autograd/gradcheck.h"
#include "tandem/core/backend.h"
#include "tandem/core/check.h"
#include "tandem/testing/check_operator.h"
#include "tandem/testing/max_difference.h"
#include "tandem/testing/run_op_case.h"
#ifdef TANDEM_CUDA_SIMULATED
#include "tandem/cuda/simulator/simulator.h"
#endif

namespace tandem::testing {
namespace {

std::string subject(const OpCase& op_case, const char* check) {
  TANDEM_CHECK(cuda_status().available, "operator {}: there is no GPU to check it on: {}", op_case.op,
               cuda_status().text);
  return fmt::format("operator {}, case {}, {} on a GPU", op_case.op, op_case.name, check);
}

Tensors moved(const Tensors& xs, Device device) {
  Tensors ys;
  for (const Tensor& x : xs) ys.push_back(x.defined() ? x.to(device) : x);
  return ys;
}

// Returns the inputs in bf16, except for weights, which stay f32.
Tensors rounded(const OpCase& op_case, const Tensors& xs) {
  Tensors ys;
  for (size_t i = 0; i < xs.size(); ++i) {
    const bool weight = std::count(op_case.weights.begin(), op_case.weights.end(), static_cast<int>(i)) > 0;
    ys.push_back(is_checked(xs[i]) && !weight ? xs[i].to(DType::bf16) : xs[i]);
  }
  return ys;
}

struct Tolerance {
  double value, gradient;
};

// Compares the case on the GPU with the CPU in f64 on the same values. The gradients of the outputs are the
// same too, rounded to the dtype of each output.
void compare_with_cpu(Report& report, const OpCase& op_case, const Tensors& inputs, Tolerance tolerance) {
  const Result actual = differentiate(op_case, moved(inputs, Device::cuda()));
  const Result expected = differentiate(op_case, converted(inputs, DType::f64));
  if (!report.check(actual.outputs.size() == expected.outputs.size(), "there are {} outputs, {} on the CPU",
                    actual.outputs.size(), expected.outputs.size()))
    return;
  for (size_t k = 0; k < actual.outputs.size(); ++k) {
    const Tensor& y = actual.outputs[k];
    report.check(y.device() == Device::cuda(), "output {}, {}, is on {}", k, y.summary(), y.device().str());
    const double error = relative_error(y.to(Device::cpu()), expected.outputs[k]);
    report.check(error <= tolerance.value, "output {}, {}, is {} from the CPU's; {} at most", k, y.summary(),
                 error, tolerance.value);
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!is_checked(inputs[i])) continue;
    const Tensor& g = actual.gradients[i];
    if (!report.check(g.defined() == expected.gradients[i].defined(),
                      "input {}, {}, has a gradient on one device only", i, inputs[i].summary()) ||
        !g.defined())
      continue;
    report.check(g.dtype() == inputs[i].dtype(), "the gradient of input {}, {}, is {}", i,
                 inputs[i].summary(), g.summary());
    const double error = relative_error(g.to(Device::cpu()), expected.gradients[i]);
    report.check(error <= tolerance.gradient,
                 "the gradient of input {}, {}, is {} from the CPU's; {} at most", i, inputs[i].summary(),
                 error, tolerance.gradient);
  }
}

}  // namespace

Report check_gpu_values(const OpCase& op_case) {
  return Report(subject(op_case, "values")).run([&op_case](Report& report) {
    compare_with_cpu(report, op_case, op_case.inputs(DType::f64, kSeed), {1e-10, 1e-9});
    compare_with_cpu(report, op_case, op_case.inputs(DType::f32, kSeed),
                     {op_case.tolerance_f32, op_case.gradient_tolerance_f32});
  });
}

Report check_gpu_bf16(const OpCase& op_case) {
  return Report(subject(op_case, "bf16")).run([&op_case](Report& report) {
    const Tensors inputs = rounded(op_case, op_case.inputs(DType::f32, kSeed));
    compare_with_cpu(report, op_case, inputs, {op_case.tolerance_bf16, op_case.tolerance_bf16});
  });
}

Report check_gpu_derivative(const OpCase& op_case) {
  return Report(subject(op_case, "derivative")).run([&op_case](Report& report) {
    if (!op_case.differentiable) return;
    GradcheckOptions options;
    options.tolerance = op_case.gradcheck_tolerance;
    const Tensors inputs = op_case.inputs(DType::f64, kSeed);
    // Large inputs are there for the blocks; small ones show the derivative.
    options.max_elements = 12;
    for (const Tensor& x : inputs)
      if (is_checked(x) && x.numel() > 3000) options.max_elements = 2;
    const auto on_device = [&op_case](const Tensors& xs) {
      Tensors inside, outside;
      for (const Tensor& x : xs) inside.push_back(x.defined() ? x.to(Device::cuda()) : x);
      for (const Tensor& y : op_case.run(inside)) outside.push_back(y.to(Device::cpu()));
      return outside;
    };
    const GradcheckResult result = gradcheck(on_device, inputs, options);
    report.check(result.ok, "{}", result.message);
  });
}

Report check_gpu_same_bits(const OpCase& op_case) {
  return Report(subject(op_case, "same bits")).run([&op_case](Report& report) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Tensors wide = op_case.inputs(DType::f32, kSeed);
      const Tensors inputs = moved(dtype == DType::bf16 ? rounded(op_case, wide) : wide, Device::cuda());
      const Result first = differentiate(op_case, inputs);
      const auto check_again = [&] {
        const Result again = differentiate(op_case, inputs);
        report.check(same_bits(first.outputs, again.outputs), "outputs in {} differ between two passes",
                     name_of(dtype));
        report.check(same_bits(first.gradients, again.gradients), "gradients in {} differ between two passes",
                     name_of(dtype));
      };
#ifdef TANDEM_CUDA_SIMULATED
      simulator::for_each_order(
          check_again);  // a result that depends on the order of threads lacks a barrier
#else
      check_again();
#endif
    }
  });
}

}  // namespace tandem::testing
