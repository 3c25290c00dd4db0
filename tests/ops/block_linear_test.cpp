// block_linear: cases, blocks that do not see each other, errors.
#include "tandem/ops/block_linear.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/reference/block_linear.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {

SIGNATURES(block_linear) {
  add_signature(
      {.op = "block_linear",
       .function = "block_linear",
       .sizes = {3, 2, 5, 4},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"x", {n[0], n[1] * n[3]}}, {"weight", {n[1], n[2], n[3]}}};
       },
       .call = [](const Tensors& x, const Numbers&) -> Tensors { return {block_linear(x[0], x[1])}; }});
}

OP_CASES(block_linear) {
  struct Case {
    Shape rows, weight;
  };
  for (const Case& c : {Case{{1}, {1, 1, 1}}, Case{{3, 2}, {3, 5, 7}}, Case{{33}, {1, 65, 33}},
                        Case{{5, 3}, {4, 16, 16}}, Case{{70, 3}, {2, 33, 65}}}) {
    const int64_t width = c.weight[0] * c.weight[2];
    const Shape x = c.rows.rank() == 1 ? Shape{c.rows[0], width} : Shape{c.rows[0], c.rows[1], width};
    add_op_case(
        {.op = "block_linear",
         .name = x.str() + " by " + c.weight.str(),
         .inputs = [x, weight = c.weight](DType dtype, uint64_t seed) -> Tensors {
           return {random_tensor(x, dtype, seed), random_tensor(weight, dtype, seed + 1)};
         },
         .run = [](const Tensors& in) -> Tensors { return {block_linear(in[0], in[1])}; },
         .reference = [](const Tensors& in) -> Tensors { return {reference::block_linear(in[0], in[1])}; },
         .weights = {1}});
  }
}

TEST_CASE("block_linear: one block is linear(), and gradients of a weight used twice add up") {
  for (const Device device : test_devices()) {
    const Tensor x = random_tensor({6, 5}, DType::f64, 1).to(device);
    const Tensor w = requires_grad(random_tensor({1, 7, 5}, DType::f64, 2).to(device));
    const Tensor flat = requires_grad(w.detach().clone().view_as({7, 5}));
    const Tensor dy = random_tensor({6, 7}, DType::f64, 3).to(device);
    Tape tape;
    const Tensor y = block_linear(x, w), again = block_linear(x, w), z = linear(x, flat);
    CHECK(relative_error(y, z) < 1e-15);
    tape.backward({y, again, z}, {dy, dy, dy});
    const std::vector<double> ours = grad(w).to_vector<double>(), once = grad(flat).to_vector<double>();
    for (size_t i = 0; i < ours.size(); ++i) CHECK(ours[i] == doctest::Approx(2 * once[i]).epsilon(1e-13));
  }
}

TEST_CASE("block_linear: a block of the result depends on its own block of x alone") {
  for (const Device device : test_devices()) {
    const Tensor w = random_tensor({3, 2, 4}, DType::f64, 5).to(device);
    const Tensor x = random_tensor({2, 12}, DType::f64, 6);
    const std::vector<double> before = block_linear(x.to(device), w).to_vector<double>();
    const Tensor changed = x.clone();
    for (int64_t j = 4; j < 8; ++j) changed.data<double>()[j] += 1;  // row 0, block 1
    const std::vector<double> after = block_linear(changed.to(device), w).to_vector<double>();
    for (size_t i = 0; i < before.size(); ++i) CHECK((before[i] == after[i]) == (i != 2 && i != 3));
  }
}

TEST_CASE("block_linear: errors") {
  const auto error = [](const Tensor& x, const Tensor& weight) {
    return error_of([&] { block_linear(x, weight); });
  };
  const Tensor x = zeros({2, 6}, DType::f32);
  CHECK(error(x, zeros({6, 6}, DType::f32)) ==
        "block_linear: weight is f32 (6, 6) on cpu; it must be (G, out, in)");
  CHECK(error(x, zeros({2, 3, 4}, DType::f32)) ==
        "block_linear: x is (2, 6), weight is (2, 3, 4); x's last must be 8, that is 2 blocks of 4");
  CHECK(contains(error(x, zeros({2, 3, 3}, DType::f64)), "they must have one floating dtype and one device"));
}

}  // namespace tandem::testing
