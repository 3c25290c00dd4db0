// The checks that every operator passes on the CPU (tests/testing/check_operator.h), over the whole table of op_cases.h.
#include "tests/support/op_cases.h"

#include <doctest/doctest.h>

#include <set>

#include "op_names.h"
#include "tandem/testing/check_operator.h"
#include "tests/support/run_op_case.h"

namespace tandem::testing {

TEST_CASE("operators: every operator has cases, and every case has an operator") {
  std::set<std::string> tested, written;
  for (const OpCase& op_case : op_cases()) tested.insert(op_case.op);
  for (const char* name : kOpFiles) {
    written.insert(name);
    const std::string op = name;
    CHECK_MESSAGE(tested.count(op) == 1, "ops/", op, ".h has no case: add OP_CASES(", op, ") to tests/ops/",
                  op, "_test.cpp");
  }
  for (const std::string& name : tested)
    CHECK_MESSAGE(written.count(name) == 1, "cases of ", name, ", not in ops/");
}

// Each of the following tests runs every case of every operator several times.
TEST_SUITE_BEGIN("slow when emulated");

TEST_CASE("operators: the forward pass is the definition, in f64 and f32") {
  check_each_case(check_forward);
}

TEST_CASE("operators: the gradient is the derivative (central differences in f64)") {
  check_each_case(check_derivative);
}

TEST_CASE("operators: gradients in f32 are those in f64") {
  check_each_case(check_gradients_f32);
}

TEST_CASE("operators: same bits every time, with one thread and with more") {
  check_each_case(check_threads);
}

TEST_CASE("operators: recording changes no value, and leaves the inputs alone") {
  check_each_case(check_recording);
}

TEST_CASE(
    "operators: a gradient is the same whether or not other inputs want one, and however its input was made") {
  check_each_case(check_gradient_paths);
}

TEST_SUITE_END();

}  // namespace tandem::testing
