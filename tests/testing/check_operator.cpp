// The checks of an operator on the CPU, and all of them together.
#include "tandem/testing/check_operator.h"

#include "tandem/autograd/gradcheck.h"
#include "tandem/core/backend.h"
#include "tandem/testing/max_difference.h"
#include "tandem/testing/run_op_case.h"
#include "tests/support/threads.h"

namespace tandem::testing {
namespace {

std::string subject(const OpCase& op_case, const char* check) {
  return fmt::format("operator {}, case {}, {}", op_case.op, op_case.name, check);
}

}  // namespace

Report check_forward(const OpCase& op_case) {
  return Report(subject(op_case, "forward")).run([&op_case](Report& report) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      const Tensors inputs = op_case.inputs(dtype, kSeed);
      const Tensors before = clones(inputs);
      const Tensors ys = op_case.run(inputs);
      const Tensors expected = op_case.reference(converted(inputs, DType::f64));
      report.check(same_bits(inputs, before), "the operator changed its inputs");
      if (!report.check(ys.size() == expected.size(), "there are {} outputs, {} are expected", ys.size(),
                        expected.size()))
        return;
      for (size_t k = 0; k < ys.size(); ++k) {
        report.check(ys[k].dtype() == dtype, "output {} is {}, from inputs of {}", k, ys[k].summary(),
                     name_of(dtype));
        const double error = relative_error(ys[k], expected[k]),
                     most = dtype == DType::f64 ? 1e-10 : op_case.tolerance_f32;
        report.check(error <= most, "output {}, {}, is {} from the reference, {}; {} at most", k,
                     ys[k].summary(), error, expected[k].summary(), most);
      }
    }
  });
}

Report check_derivative(const OpCase& op_case) {
  return Report(subject(op_case, "derivative")).run([&op_case](Report& report) {
    if (!op_case.differentiable) return;
    GradcheckOptions options;
    options.tolerance = op_case.gradcheck_tolerance;
    options.max_elements = op_case.gradcheck_elements;
    const Tensors inputs = op_case.inputs(DType::f64, kSeed);
    // Large inputs are there for the threads; small ones have shown the derivative.
    for (const Tensor& x : inputs)
      if (is_checked(x) && x.numel() > 10000 && options.max_elements > 0) options.max_elements = 4;
    const GradcheckResult result = gradcheck(op_case.run, inputs, options);
    report.check(result.ok, "{}", result.message);
  });
}

Report check_gradients_f32(const OpCase& op_case) {
  return Report(subject(op_case, "gradients in f32")).run([&op_case](Report& report) {
    if (!op_case.differentiable) return;
    const Tensors inputs = op_case.inputs(DType::f32, kSeed);
    const Result narrow = differentiate(op_case, inputs);
    const Result wide = differentiate(op_case, converted(inputs, DType::f64));
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!is_checked(inputs[i])) continue;
      const Tensor &g = narrow.gradients[i], &expected = wide.gradients[i];
      if (!report.check(g.defined() == expected.defined(), "input {}, {}, has a gradient in one dtype only",
                        i, inputs[i].summary()) ||
          !g.defined())
        continue;
      report.check(g.dtype() == DType::f32, "the gradient of input {} is {}", i, g.summary());
      const double error = relative_error(g, expected);
      report.check(error <= op_case.gradient_tolerance_f32,
                   "the gradient of input {}, {}, is {} from that in f64; {} at most", i, inputs[i].summary(),
                   error, op_case.gradient_tolerance_f32);
    }
  });
}

Report check_threads(const OpCase& op_case) {
  return Report(subject(op_case, "same bits")).run([&op_case](Report& report) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Tensors inputs = op_case.inputs(dtype, kSeed);
      const auto result = [&op_case, &inputs](int threads) {
        const Threads use(threads);
        return op_case.differentiable ? differentiate(op_case, inputs) : Result{op_case.run(inputs), {}};
      };
      const Result one = result(1);
      for (const int threads : {1, 2, 3}) {
        const Result again = result(threads);
        report.check(same_bits(one.outputs, again.outputs),
                     "outputs in {} differ between two passes, with 1 and {} threads", name_of(dtype),
                     threads);
        report.check(same_bits(one.gradients, again.gradients),
                     "gradients in {} differ between two passes, with 1 and {} threads", name_of(dtype),
                     threads);
      }
    }
  });
}

Report check_recording(const OpCase& op_case) {
  return Report(subject(op_case, "recording")).run([&op_case](Report& report) {
    if (!op_case.differentiable) return;
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Tensors inputs = op_case.inputs(dtype, kSeed);
      Tensors leaves = clones(inputs);
      for (const Tensor& x : leaves)
        if (is_checked(x)) requires_grad(x);
      Tape tape;
      const Tensors recorded = op_case.run(leaves);
      {
        const NoGrad pause;
        report.check(same_bits(recorded, op_case.run(inputs)), "outputs in {} differ with and without a tape",
                     name_of(dtype));
      }
      Grads dys;
      for (const Tensor& y : recorded) dys.push_back(random_tensor(y.shape(), y.dtype(), 5));
      tape.backward(recorded, dys);
      report.check(same_bits(leaves, inputs), "backward in {} changed the inputs", name_of(dtype));
    }
  });
}

Report check_gradient_paths(const OpCase& op_case) {
  return Report(subject(op_case, "gradient paths")).run([&op_case](Report& report) {
    if (!op_case.differentiable) return;
    const Tensors inputs = op_case.inputs(DType::f64, kSeed);
    const Result all = differentiate(op_case, inputs);
    const auto compare = [&inputs, &all, &report](const Result& other, double factor, const char* what,
                                                  int only) {
      for (size_t i = 0; i < inputs.size(); ++i) {
        if (!is_checked(inputs[i]) || (only >= 0 && only != static_cast<int>(i))) continue;
        if (!report.check(other.gradients[i].defined() == all.gradients[i].defined(),
                          "{}: input {}, {}, has a gradient in one of two passes only", what, i,
                          inputs[i].summary()) ||
            !all.gradients[i].defined())
          continue;
        const double* g = all.gradients[i].data<double>();
        const Tensor expected =
            tensor_from(inputs[i].shape(), [g, factor](int64_t k) { return factor * g[k]; });
        const double error = relative_error(other.gradients[i], expected);
        report.check(error <= 1e-12, "{}: the gradient of input {}, {}, is {} from the one expected", what, i,
                     inputs[i].summary(), error);
      }
    };
    Differentiate through;
    through.through = true;
    compare(differentiate(op_case, inputs, through), 1, "inputs made by an operator", -1);
    Differentiate twice;
    twice.passes = 2;
    compare(differentiate(op_case, inputs, twice), 2, "two backward passes add up", -1);
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!is_checked(inputs[i])) continue;
      Differentiate alone;
      alone.only = static_cast<int>(i);
      compare(differentiate(op_case, inputs, alone), 1, "alone", alone.only);
    }
  });
}

Report check_operator(const OpCase& op_case) {
  Report report(subject(op_case, "all checks"));
  for (const auto check : {check_forward, check_derivative, check_gradients_f32, check_threads,
                           check_recording, check_gradient_paths})
    report.add(check(op_case));
  if (!cuda_status().available) {
    report.note("not checked on a GPU: " + cuda_status().text);
  } else if (!op_case.has_gpu_kernel) {
    report.note("not checked on a GPU: the case says that there is no kernel");
  } else {
    for (const auto check : {check_gpu_values, check_gpu_bf16, check_gpu_derivative, check_gpu_same_bits})
      report.add(check(op_case));
  }
  return report;
}

}  // namespace tandem::testing
