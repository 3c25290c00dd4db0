// check_operator: the checks that every operator passes, Tandem's own as well as those of other projects. A case says how to
// run the operator and what it should give (op_case.h), and each check returns a Report.
//
//     for (const OpCase& one : my_cases) check_operator(one).require();      // Error: a check failed; it says which
//
// The checks on a GPU run where the process can use one, real or simulated.
#pragma once
#include "tandem/testing/op_case.h"
#include "tandem/testing/report.h"

namespace tandem::testing {

// Runs all checks below on the case; those on a GPU if there is one and the operator has a kernel for it.
Report check_operator(const OpCase& op_case);

// On the CPU.
// The outputs are the reference's, in f64 and f32, and the inputs stay as they are.
Report check_forward(const OpCase& op_case);
// The gradient is the derivative: central differences in f64, against a random projection of the outputs. With a plain sum
// of them, a backward of softmax that returned 0 would pass.
Report check_derivative(const OpCase& op_case);
// Gradients in f32 are those in f64.
Report check_gradients_f32(const OpCase& op_case);
// Outputs and gradients have the same bits every time, with 1, 2 and 3 threads.
Report check_threads(const OpCase& op_case);
// Recording on a tape changes no output, and backward leaves the inputs alone.
Report check_recording(const OpCase& op_case);
// A gradient is the same whether or not other inputs want one, and when inputs are results of other operators; two backward
// passes give twice the gradient.
Report check_gradient_paths(const OpCase& op_case);

// On a GPU, real or simulated. Error: there is none.
// Outputs and gradients are the CPU's, in f64 and f32.
Report check_gpu_values(const OpCase& op_case);
// Outputs and gradients in bf16 are those in f64 on the same values, but for rounding.
Report check_gpu_bf16(const OpCase& op_case);
// The gradient is the derivative, by central differences in f64.
Report check_gpu_derivative(const OpCase& op_case);
// The same bits every time; on a simulated GPU in whatever order the threads of a block run.
Report check_gpu_same_bits(const OpCase& op_case);

}  // namespace tandem::testing
