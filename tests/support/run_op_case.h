// Runs the checks of operators over the table of cases.
#pragma once
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "tandem/testing/report.h"
#include "tandem/testing/run_op_case.h"
#include "tests/support/op_cases.h"

namespace tandem::testing {

// Makes each failure of a report a failure of the test.
inline void expect(const Report& report) {
  for (const std::string& failure : report.failures()) FAIL_CHECK(failure);
  CHECK(report.ok());
}

// Runs a check, such as check_forward(), on every case. Returns the number of cases.
template <class F>
int check_each_case(const F& check) {
  const char* only = std::getenv("TANDEM_TEST_OPERATOR");  // the name of one operator; unset: all
  int cases = 0;
  for (const OpCase& op_case : op_cases()) {
    if (only && op_case.op != only) continue;
    expect(check(op_case));
    ++cases;
  }
  return cases;
}

}  // namespace tandem::testing
