// The checks that every operator passes on a GPU, real or simulated (tests/testing/check_operator.h), over the whole table of
// op_cases.h.
#include <doctest/doctest.h>

#include <set>

#include "tandem/testing/check_operator.h"
#include "tests/support/devices.h"
#include "tests/support/run_op_case.h"

namespace tandem::testing {
namespace {

// Returns whether there is a GPU to test on, and says so if there is none.
bool can_run() {
  if (has_cuda()) return true;
  MESSAGE("skipped: no GPU (", cuda_status().text, ")");
  return false;
}

}  // namespace

TEST_CASE("cuda: operators: values and gradients are the CPU's, in f64 and f32") {
  if (!can_run()) return;
  std::set<std::string> operators;
  const int cases = check_each_case([&operators](const OpCase& op_case) {
    operators.insert(op_case.op);
    return check_gpu_values(op_case);
  });
  MESSAGE(cases, " cases of ", operators.size(), " operators ran on ", cuda_status().text);
}

TEST_CASE("cuda: operators: bf16 is f64 on the same values, but for rounding") {
  if (can_run()) check_each_case(check_gpu_bf16);
}

TEST_CASE("cuda: operators: the gradient is the derivative (central differences in f64)") {
  if (can_run()) check_each_case(check_gpu_derivative);
}

TEST_CASE("cuda: operators: the same bits every time") {
  if (can_run()) check_each_case(check_gpu_same_bits);
}

}  // namespace tandem::testing
