// hardtanh: its cases for the checks that all operators share.
#include "tandem/ops/hardtanh.h"

#include <algorithm>

#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {

SIGNATURES(hardtanh) {
  add_unary_signature("hardtanh", "hardtanh", [](const Tensor& x, const Numbers&) { return hardtanh(x); });
}

OP_CASES(hardtanh) {
  for (const Shape& shape : {Shape{1}, Shape{3, 33}, Shape{65}})
    add_op_case({.op = "hardtanh",
                 .name = shape.str(),
                 .inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
                   return {random_tensor(shape, dtype, seed, -2, 2)};
                 },
                 .run = [](const Tensors& x) -> Tensors { return {hardtanh(x[0])}; },
                 .reference = [](const Tensors& x) -> Tensors {
                   const double* in = x[0].data<double>();
                   return {
                       tensor_from(x[0].shape(), [in](int64_t i) { return std::clamp(in[i], -1.0, 1.0); })};
                 }});
}

}  // namespace tandem::testing
