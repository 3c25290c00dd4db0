// The table of operator cases (tests/testing/op_case.h). Every check that operators share runs over all rows, so one row of
// a new operator's test buys all of them: those of tests/testing/check_operator.h on the CPU by op_cases_test.cpp, on a GPU,
// real or simulated, by cuda_operators_test.cpp.
//
// A test file adds its rows with OP_CASES(name), before main() runs:
//
//     OP_CASES(softmax) {
//       for (const Shape& shape : {Shape{1}, Shape{3, 33}})
//         add_op_case({.op = "softmax",
//                      .name = shape.str(),
//                      .inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
//                        return {random_tensor(shape, dtype, seed, -4, 4)};
//                      },
//                      .run = [](const Tensors& x) -> Tensors { return {softmax(x[0])}; },
//                      .reference = [](const Tensors& x) -> Tensors { return {reference::softmax(x[0])}; }});
//     }
//
// An operator without a row fails the first test of op_cases_test.cpp.
#pragma once
#include <utility>

#include "tandem/core/error.h"
#include "tandem/testing/max_difference.h"
#include "tandem/testing/op_case.h"

namespace tandem::testing {

inline std::vector<OpCase>& op_cases() {
  static std::vector<OpCase> cases;
  return cases;
}

inline void add_op_case(OpCase op_case) {
  op_cases().push_back(std::move(op_case));
}

}  // namespace tandem::testing

// Fills the table before main(). Use once for each name: OP_CASES(softmax) { add_op_case({...});
// add_op_case({...}); }
#define OP_CASES(name)                                                                          \
  static void op_cases_of_##name();                                                             \
  [[maybe_unused]] static const bool op_cases_of_##name##_added = (op_cases_of_##name(), true); \
  static void op_cases_of_##name()
