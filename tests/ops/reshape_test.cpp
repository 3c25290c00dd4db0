// reshape: cases, shared memory, errors.
#include "tandem/ops/reshape.h"

#include <doctest/doctest.h>

#include "tandem/ops/reference/reshape.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

SIGNATURES(reshape) {
  add_unary_signature(
      "reshape", "reshape",
      [](const Tensor& x, const Numbers& n) { return reshape(x, {static_cast<int64_t>(n[0])}); },
      {{"elements", 6, {0, 1, 5, 4e18}}});
}

OP_CASES(reshape) {
  for (const auto& [from, to] :
       {std::pair{Shape{1}, Shape{}}, {Shape{3, 33}, Shape{99}}, {Shape{65}, Shape{5, 1, 13}}})
    add_op_case(
        {.op = "reshape",
         .name = from.str() + " to " + to.str(),
         .inputs = [from = from](DType dtype, uint64_t seed) -> Tensors {
           return {random_tensor(from, dtype, seed)};
         },
         .run = [to = to](const Tensors& x) -> Tensors { return {reshape(x[0], to)}; },
         .reference = [to = to](const Tensors& x) -> Tensors { return {reference::reshape(x[0], to)}; }});
}

TEST_CASE("reshape: the result is a view, in any dtype") {
  const Tensor x = zeros({4, 2}, DType::i32);
  CHECK(reshape(x, {8}).raw() == x.raw());
  CHECK_THROWS_WITH_AS(reshape(x, {3, 3}),
                       "reshape: x is (4, 2) with 8 elements, (3, 3) has 9; the number must stay", Error);
}

}  // namespace
}  // namespace tandem::testing
